//! Making the cluster, once: `initdb` into a name of its own, then a rename. A launcher that is killed in between leaves
//! nothing that looks finished.

use super::binaries::Binaries;
use crate::services::account;
use crate::services::place::{Place, private_directory};
use anyhow::{Context, Result, bail};
use std::path::Path;
use std::process::Stdio;

/// With our number: an initdb whose launcher was killed may still be at work under another one.
const UNFINISHED: &str = "data.new-";

/// Whether there was none and one was made.
pub fn ensure(place: &Place, binaries: &Binaries) -> Result<bool> {
    if place.data().join("PG_VERSION").exists() {
        return Ok(false);
    }
    remove_unfinished(&place.home)?;
    let unfinished = place.home.join(format!("{UNFINISHED}{}", std::process::id()));
    private_directory(&unfinished, place.account.as_ref())?;
    let output = account::command(&binaries.tool("initdb"), place.account.as_ref(), &unfinished)
        .arg("--pgdata")
        .arg(&unfinished)
        .args(["--username", super::SUPERUSER, "--encoding", "UTF8", "--locale", "C", "--data-checksums"])
        // Whoever reaches the socket is trusted (its directory is closed to all others); the network is not served.
        .args(["--auth-local", "trust", "--auth-host", "reject"])
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run {}", binaries.tool("initdb").display()))?;
    if !output.status.success() {
        let complaint = String::from_utf8_lossy(&output.stderr);
        bail!(
            "initdb failed: {}",
            complaint.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("it said nothing")
        );
    }
    std::fs::rename(&unfinished, place.data()).context("cannot give the new cluster its name")?;
    // The rename itself must survive a power cut, as the cluster under it (initdb syncs its files) does.
    std::fs::File::open(&place.home).and_then(|home| home.sync_all()).context("cannot sync the cluster's directory")?;
    Ok(true)
}

fn remove_unfinished(home: &Path) -> Result<()> {
    let entries = std::fs::read_dir(home).with_context(|| format!("cannot read {}", home.display()))?.flatten();
    for left in entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(UNFINISHED)) {
        std::fs::remove_dir_all(left.path()).with_context(|| format!("cannot remove {}", left.path().display()))?;
    }
    Ok(())
}
