//! Installing PostgreSQL from Debian's packages, for a machine that has nothing but a Rust toolchain. Only as root, only
//! on a system with apt-get, and so that nothing of it runs afterwards: the package's own cluster is neither made nor
//! started, because ours is a private one.

use super::account::we_are_root;
use crate::say;
use anyhow::{Context, Result, bail};
use std::path::Path;
use std::process::{Command, Stdio};

const APT_GET: &str = "/usr/bin/apt-get";
/// Read by the package's installation script in alphabetical order with others; ours is removed again.
const DROP_IN_DIRECTORY: &str = "/etc/postgresql-common/createcluster.d";
const DROP_IN: &str = "/etc/postgresql-common/createcluster.d/zz-rookery.conf";

pub fn can_install() -> bool {
    we_are_root() && Path::new(APT_GET).is_file() && Path::new("/etc/debian_version").is_file()
}

pub fn install_postgres() -> Result<()> {
    say::progress("PostgreSQL is not on this machine; installing Debian's package `postgresql` (a minute or two)");
    std::fs::create_dir_all(DROP_IN_DIRECTORY).with_context(|| format!("cannot make {DROP_IN_DIRECTORY}"))?;
    let told = std::fs::write(DROP_IN, "# For the time of one installation by rookery.\ncreate_main_cluster = false\n");
    told.with_context(|| format!("cannot write {DROP_IN}"))?;
    let installed = install();
    drop(std::fs::remove_file(DROP_IN));
    installed
}

fn install() -> Result<()> {
    // First the package that owns the setting above, so that the server's package finds it in force.
    let packages = ["postgresql-common", "postgresql"];
    if install_each(&packages).is_ok() {
        return Ok(());
    }
    // Most often the lists of packages are missing (a fresh container) or old.
    apt_get(&["update"])?;
    install_each(&packages)
}

fn install_each(packages: &[&str]) -> Result<()> {
    packages.iter().try_for_each(|package| apt_get(&["install", "--no-install-recommends", package]))
}

fn apt_get(arguments: &[&str]) -> Result<()> {
    let output = Command::new(APT_GET)
        .args(["-y", "-q", "-o", "DPkg::Lock::Timeout=120"])
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run {APT_GET}"))?;
    if output.status.success() {
        return Ok(());
    }
    let complaint = String::from_utf8_lossy(&output.stderr);
    let line = complaint.lines().find(|line| line.starts_with("E:")).unwrap_or("it said nothing");
    bail!("apt-get {} failed: {line}", arguments.join(" "))
}
