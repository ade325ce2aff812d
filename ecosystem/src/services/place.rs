//! Where a private server lives: its home directory, its user, and the directory of its socket if it has one.
//!
//! ```text
//! <home>/launcher.lock   held by the launcher that is responsible for this home
//! <home>/server.lock     held by every process of the server, see `launch`
//! <home>/server.log
//! <home>/data            what the server keeps; its user owns it
//! <home>/run             the socket; 0700, so only that user and root connect
//! ```
//!
//! Two things force a home elsewhere than asked. Under root the server's user must be able to walk there, and root's own
//! home is closed to everybody: then the home is made under `/var/lib/rookery` and a symbolic link is left in its place,
//! so that the data is found again wherever the data directory is moved. And a socket's path has 107 bytes at most: then
//! the socket alone goes to a short directory.

use super::Kind;
use super::account::{self, Account};
use anyhow::{Context, Result, bail};
use std::fs::Permissions;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

/// `sun_path` has 108 bytes, the last of them zero.
const SOCKET_PATH_BYTES: usize = 107;
const SYSTEM_HOMES: &str = "/var/lib/rookery";

#[derive(Clone, Debug)]
pub struct Place {
    /// The link that was left where the home was asked for, if it had to go elsewhere.
    pub link: Option<PathBuf>,
    pub home: PathBuf,
    /// `None`: it is not reached through a socket.
    sockets: Option<PathBuf>,
    /// `None`: the server runs as ourselves.
    pub account: Option<Account>,
    /// What the person at the terminal should know about an unusual place; one line.
    pub remark: Option<String>,
}

impl Place {
    /// Decides the place for the home `asked` (`<data>/postgres`) and makes the directories, but not `data`.
    pub fn resolve(asked: &Path, temporary: &Path, kind: &Kind) -> Result<Self> {
        let mut remark = None;
        if asked.is_symlink() && !asked.exists() {
            let target = asked.read_link().unwrap_or_default();
            bail!(
                "{} points to {}, which is gone: bring it back or remove the link",
                asked.display(),
                target.display()
            );
        }
        make_directory(asked, 0o755)?;
        let mut home = absolute(asked)?;
        let account = match home.join("data").exists() {
            true => account::owner_of(&home.join("data"), kind)?,
            false => account::for_new_engine(kind)?,
        };
        if let Some(account) = account.as_ref().filter(|account| !reaches(account, &home)) {
            if home.join("data").exists() {
                bail!("user `{}`, who owns the files in {}, cannot walk there", account.name, home.display());
            }
            home = move_home(asked, &home, account)?;
            remark = Some(format!(
                "{} keeps its data in {}, because user `{}` cannot reach {}",
                kind.name,
                home.display(),
                account.name,
                asked.display()
            ));
        }
        let sockets = kind.socket.map(|name| socket_directory(&home, name, account.as_ref(), temporary)).transpose()?;
        let link = asked.is_symlink().then(|| asked.to_owned());
        Ok(Self { link, home, sockets, account, remark })
    }

    /// Deletes all of it.
    pub fn remove(&self) -> Result<()> {
        let gone = |error: &std::io::Error| error.kind() == std::io::ErrorKind::NotFound;
        for directory in self.sockets.iter().chain([&self.home]) {
            match std::fs::remove_dir_all(directory) {
                Err(error) if !gone(&error) => {
                    return Err(error).with_context(|| format!("cannot remove {}", directory.display()));
                }
                _ => {}
            }
        }
        match &self.link {
            Some(link) => std::fs::remove_file(link).with_context(|| format!("cannot remove {}", link.display())),
            None => Ok(()),
        }
    }

    pub fn data(&self) -> PathBuf {
        self.home.join("data")
    }

    /// Only this server's user and root may enter it.
    pub fn sockets(&self) -> &Path {
        self.sockets.as_deref().expect("cannot fail because only a kind with a socket asks")
    }

    pub fn server_log(&self) -> PathBuf {
        self.home.join("server.log")
    }
}

fn make_directory(path: &Path, mode: u32) -> Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    std::fs::create_dir_all(path).with_context(|| format!("cannot make {}", path.display()))?;
    // Whatever the umask: under root another user must walk through it. What is private inside is closed by itself.
    std::fs::set_permissions(path, Permissions::from_mode(mode))
        .with_context(|| format!("cannot open {}", path.display()))
}

fn absolute(path: &Path) -> Result<PathBuf> {
    path.canonicalize().with_context(|| format!("cannot find {}", path.display()))
}

/// Whether the server's user can stand in `directory`. Asking the kernel is the only answer that counts: modes, ACLs and
/// mount options of every parent play a part. Which program it is does not matter, nor whether it is there: only being
/// refused the directory is told apart.
fn reaches(account: &Account, directory: &Path) -> bool {
    let attempt = account::command(Path::new("/bin/true"), Some(account), directory).status();
    !attempt.is_err_and(|error| error.kind() == std::io::ErrorKind::PermissionDenied)
}

/// Makes a home under `/var/lib/rookery` and leaves a link to it where `asked` was.
fn move_home(asked: &Path, unreachable: &Path, account: &Account) -> Result<PathBuf> {
    // The name only has to be new; it is derived from the path so that a person can see which one belongs together.
    // A home that is there although no link leads to it belongs to a data directory that was deleted: not ours to reuse.
    let stem = format!("{SYSTEM_HOMES}/{}", short_hash(unreachable));
    let numbered = (2..1000).map(|n| PathBuf::from(format!("{stem}-{n}")));
    let home = std::iter::once(PathBuf::from(&stem)).chain(numbered).find(|home| !home.exists());
    let home = home.with_context(|| format!("{stem} and all its numbers are taken"))?;
    make_directory(&home, 0o755)?;
    if !reaches(account, &home) {
        bail!(
            "user `{}` can reach neither {} nor {}: choose another --data-dir",
            account.name,
            unreachable.display(),
            home.display()
        );
    }
    std::fs::remove_dir(unreachable).with_context(|| format!("{} is not empty", unreachable.display()))?;
    symlink(&home, asked).with_context(|| format!("cannot link {}", asked.display()))?;
    Ok(home)
}

fn socket_directory(home: &Path, name: &str, account: Option<&Account>, temporary: &Path) -> Result<PathBuf> {
    let beside = home.join("run");
    let short = format!("rookery-{}", short_hash(home));
    let candidates = [beside, temporary.join(&short), Path::new("/tmp").join(&short)];
    let fits = |directory: &&PathBuf| directory.as_os_str().len() + 1 + name.len() <= SOCKET_PATH_BYTES;
    let directory = candidates.iter().find(fits).context("no directory is short enough for a socket")?;
    private_directory(directory, account)?;
    Ok(directory.clone())
}

/// A directory that only the server's user (and root) may enter; refused when somebody else has made one of that name.
pub fn private_directory(path: &Path, account: Option<&Account>) -> Result<()> {
    let owner = account.map_or_else(account::our_uid, |account| account.uid);
    match std::fs::create_dir(path) {
        Ok(()) => account::give(path, account)?,
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            let there = path.symlink_metadata().with_context(|| format!("cannot look at {}", path.display()))?;
            if !there.is_dir() || there.uid() != owner {
                bail!("{} belongs to somebody else: remove it, or set TMPDIR", path.display());
            }
        }
        Err(error) => return Err(error).with_context(|| format!("cannot make {}", path.display())),
    }
    std::fs::set_permissions(path, Permissions::from_mode(0o700))
        .with_context(|| format!("cannot close {}", path.display()))
}

/// A path as a part of a URL; `plain` are the bytes beside letters, digits and `-._~` that may stand as they are.
pub fn percent_encoded(path: &Path, plain: &[u8]) -> String {
    use std::os::unix::ffi::OsStrExt;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || plain.contains(&byte);
    let encode = |byte: &u8| if plain(*byte) { char::from(*byte).to_string() } else { format!("%{byte:02X}") };
    path.as_os_str().as_bytes().iter().map(encode).collect()
}

/// A short name for a path, the same on every run and with every version.
fn short_hash(path: &Path) -> String {
    use std::os::unix::ffi::OsStrExt;
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, path.as_os_str().as_bytes());
    digest.as_ref().iter().take(6).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::services::postgres::KIND;

    #[test]
    fn the_url_carries_any_path() {
        assert_eq!(percent_encoded(Path::new("/srv/a b/ü"), b""), "%2Fsrv%2Fa%20b%2F%C3%BC");
        assert_eq!(percent_encoded(Path::new("/srv/a b/ü"), b"/"), "/srv/a%20b/%C3%BC");
    }

    #[test]
    fn a_long_home_keeps_its_data_and_gets_a_short_socket() {
        let base = tempfile::tempdir().unwrap();
        std::fs::set_permissions(base.path(), Permissions::from_mode(0o755)).unwrap();
        let long = base.path().join("d".repeat(120));
        let place = Place::resolve(&long, base.path(), &KIND).unwrap();
        assert!(place.home.ends_with("d".repeat(120)));
        assert!(place.sockets().as_os_str().len() < 94, "{}", place.sockets().display());
        assert_eq!(place.sockets().metadata().unwrap().permissions().mode() & 0o777, 0o700);
    }
}
