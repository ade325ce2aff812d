//! Who an engine runs as. Servers refuse to run as root (PostgreSQL) or had better not (all others): started by root
//! they run as an account that owns nothing else, started by anybody else they run as that person.

use super::Kind;
use anyhow::{Context, Result, bail};
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    pub name: String,
    pub uid: u32,
    pub gid: u32,
}

pub fn we_are_root() -> bool {
    rustix::process::geteuid().is_root()
}

pub fn our_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// The account for a new engine: `None` means ourselves. One with a name, because `initdb` looks its user up.
pub fn for_new_engine(kind: &Kind) -> Result<Option<Account>> {
    if !we_are_root() {
        return Ok(None);
    }
    let accounts = known()?;
    match kind.accounts.iter().find_map(|name| accounts.iter().find(|account| account.name == *name)) {
        Some(account) => Ok(Some(account.clone())),
        None => {
            let (names, engine) = (kind.accounts.join("`, `"), kind.name);
            bail!("running as root, and this machine has none of the users `{names}` to run {engine} as")
        }
    }
}

/// The account for an engine whose files are already there: their owner. Root may act for him, anybody else must be him.
pub fn owner_of(path: &Path, kind: &Kind) -> Result<Option<Account>> {
    let uid = path.metadata().with_context(|| format!("cannot look at {}", path.display()))?.uid();
    let accounts = known()?;
    let owner = accounts.into_iter().find(|account| account.uid == uid);
    let name = owner.as_ref().map_or_else(|| format!("user {uid}"), |account| format!("user `{}`", account.name));
    if we_are_root() {
        if uid == 0 {
            let (path, engine) = (path.display(), kind.name);
            bail!("{path} belongs to root, and {engine} does not run as root: give it to another user");
        }
        return Ok(owner.or_else(|| Some(Account { name: uid.to_string(), uid, gid: uid })));
    }
    if uid != our_uid() {
        bail!("{} belongs to {name}: run as that user or as root, or choose another --data-dir", path.display());
    }
    Ok(None)
}

/// Hands a file or directory of ours to `account`; nothing to do when the engine runs as ourselves.
pub fn give(path: &Path, account: Option<&Account>) -> Result<()> {
    match account {
        Some(a) => chown(path, Some(a.uid), Some(a.gid))
            .with_context(|| format!("cannot give {} to {}", path.display(), a.name)),
        None => Ok(()),
    }
}

/// A command that runs as `account`, in `directory`, and sees nothing of our environment.
pub fn command(program: &Path, account: Option<&Account>, directory: &Path) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("PATH", "/usr/bin:/bin").env("LC_ALL", "C").env("TZ", "UTC").current_dir(directory);
    if let Some(account) = account {
        // The standard library drops root's supplementary groups by itself when a uid is given.
        command.uid(account.uid).gid(account.gid).env("HOME", directory).env("USER", &account.name);
    }
    command
}

fn known() -> Result<Vec<Account>> {
    let passwd = std::fs::read_to_string("/etc/passwd").context("cannot read /etc/passwd")?;
    Ok(passwd.lines().filter_map(parse).collect())
}

fn parse(line: &str) -> Option<Account> {
    let mut fields = line.split(':');
    let name = fields.next()?.to_owned();
    let uid = fields.nth(1)?.parse().ok()?;
    let gid = fields.next()?.parse().ok()?;
    Some(Account { name, uid, gid })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_passwd_is_read_and_a_broken_one_is_left_out() {
        let account = parse("postgres:x:107:115:PostgreSQL administrator,,,:/var/lib/postgresql:/bin/bash").unwrap();
        assert_eq!(account, Account { name: "postgres".into(), uid: 107, gid: 115 });
        assert_eq!(parse("+::::::"), None);
        assert_eq!(parse(""), None);
    }
}
