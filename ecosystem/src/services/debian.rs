//! Installing engines from Debian's packages, for a machine that has nothing but a Rust toolchain. Only as root, only on a
//! system with apt-get, and so that nothing of them runs afterwards: ours are private ones.

use super::account::we_are_root;
use super::{Hints, Kind, NotInstalled};
use crate::say;
use anyhow::{Context, Result, bail};
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

const APT_GET: &str = "/usr/bin/apt-get";
/// Read by PostgreSQL's installation script, in alphabetical order with others. Without it a cluster is made.
const DROP_IN: &str = "/etc/postgresql-common/createcluster.d/zz-rookery.conf";
/// Asked by every installation script whether it may start its service; 101 says no. Usually not there.
const POLICY: &str = "/usr/sbin/policy-rc.d";
const MARK: &str = "Made by rookery";

/// Sees to it that the programs of `kinds` are there, which may mean to install them. Not from several threads at once:
/// `apt-get` would refuse the second.
pub fn provide(kinds: &[&'static Kind], hints: &Hints, may_install: bool) -> Result<()> {
    let missing = || -> Vec<_> { kinds.iter().copied().filter(|kind| (kind.missing)(hints)).collect() };
    let before = missing();
    if !before.is_empty() && may_install && can_install() {
        install_kinds(&before)?;
    }
    match missing() {
        missing if missing.is_empty() => Ok(()),
        missing => Err(NotInstalled(missing).into()),
    }
}

fn can_install() -> bool {
    we_are_root() && Path::new(APT_GET).is_file() && Path::new("/etc/debian_version").is_file()
}

fn install_kinds(missing: &[&'static Kind]) -> Result<()> {
    let names: Vec<_> = missing.iter().map(|kind| kind.name).collect();
    let packages: Vec<_> = missing.iter().flat_map(|kind| kind.packages).copied().collect();
    say::progress(format!(
        "not on this machine: {}; installing Debian's packages {} (a minute or two)",
        names.join(", "),
        packages.join(", ")
    ));
    let _drop_in = Temporary::make(DROP_IN, "create_main_cluster = false\n", 0o644)?;
    let _policy = match may_be_ours(Path::new(POLICY)) {
        true => Some(Temporary::make(POLICY, &policy(), 0o755)?),
        // Somebody has decided already what is started on this machine.
        false => None,
    };
    // What is there already is somebody's.
    let new: Vec<_> = missing.iter().flat_map(|kind| kind.services).filter(|service| !is_set_up(service)).collect();
    install(&packages)?;
    new.into_iter().for_each(|service| disable(service));
    Ok(())
}

/// A file for the time of one installation.
struct Temporary(&'static str);

impl Temporary {
    fn make(path: &'static str, content: &str, mode: u32) -> Result<Self> {
        let file = Path::new(path);
        let directory = file.parent().expect("cannot fail because it is an absolute path of a file");
        std::fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
        let written = std::fs::write(file, content);
        let written = written.and_then(|()| std::fs::set_permissions(file, Permissions::from_mode(mode)));
        written.with_context(|| format!("cannot write {path}"))?;
        Ok(Self(path))
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        drop(std::fs::remove_file(self.0));
    }
}

/// Should we be killed before it is removed, it means nothing any more: it is about the life of this process.
fn policy() -> String {
    let pid = std::process::id();
    format!(
        "#!/bin/sh\n# {MARK} for the time of one installation; may be removed.\n[ -d /proc/{pid} ] && exit 101\nexit 0\n"
    )
}

fn may_be_ours(policy: &Path) -> bool {
    !policy.exists() || std::fs::read_to_string(policy).is_ok_and(|text| text.contains(MARK))
}

fn is_set_up(service: &str) -> bool {
    let unit = Path::new("/lib/systemd/system").join(format!("{service}.service"));
    unit.exists() || Path::new("/etc/init.d").join(service).exists()
}

/// Not started at the next boot either, whichever of the two starts it there. Where a tool is not, it starts nothing.
fn disable(service: &str) {
    for (tool, arguments) in
        [("/usr/sbin/update-rc.d", [service, "disable"]), ("/usr/bin/systemctl", ["disable", service])]
    {
        drop(Command::new(tool).args(arguments).stdin(Stdio::null()).output());
    }
}

fn install(packages: &[&str]) -> Result<()> {
    if install_each(packages).is_ok() {
        return Ok(());
    }
    // Most often the lists of packages are missing (a fresh container) or old.
    apt_get(&["update"])?;
    install_each(packages)
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
