//! Where a private server lives: its home directory, its user, and the directory of its socket.
//!
//! ```text
//! <home>/launcher.lock   held by the launcher that is responsible for this home
//! <home>/server.lock     held by every process of the server, see `launch`
//! <home>/server.log
//! <home>/data            the cluster; the server's user owns it
//! <home>/run             the socket; 0700, so only that user and root connect
//! ```
//!
//! Two things force a home elsewhere than asked. Under root the server's user must be able to walk there, and root's own
//! home is closed to everybody: then the home is made under `/var/lib/rookery` and a symbolic link is left in its place,
//! so that the data is found again wherever the data directory is moved. And a socket's path has 107 bytes at most: then
//! the socket alone goes to a short directory.

use crate::services::account::{self, Account};
use anyhow::{Context, Result, bail};
use std::fs::Permissions;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

const SOCKET_NAME: &str = ".s.PGSQL.5432";
/// `sun_path` has 108 bytes, the last of them zero.
const SOCKET_PATH_BYTES: usize = 107;
const SYSTEM_HOMES: &str = "/var/lib/rookery";

#[derive(Clone, Debug)]
pub struct Place {
    /// The link that was left where the home was asked for, if it had to go elsewhere.
    pub link: Option<PathBuf>,
    pub home: PathBuf,
    pub sockets: PathBuf,
    /// `None`: the server runs as ourselves.
    pub account: Option<Account>,
    /// What the person at the terminal should know about an unusual place; one line.
    pub remark: Option<String>,
}

impl Place {
    /// Decides the place for the home `asked` (`<data>/postgres`) and makes the directories, but not the cluster.
    pub fn resolve(asked: &Path, temporary: &Path) -> Result<Self> {
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
            true => account::owner_of(&home.join("data"))?,
            false => account::for_new_engine()?,
        };
        if let Some(account) = account.as_ref().filter(|account| !reaches(account, &home)) {
            if home.join("data").exists() {
                bail!("user `{}`, who owns the database in {}, cannot walk there", account.name, home.display());
            }
            home = move_home(asked, &home, account)?;
            remark = Some(format!(
                "the database is in {}, because user `{}` cannot reach {}",
                home.display(),
                account.name,
                asked.display()
            ));
        }
        let sockets = socket_directory(&home, account.as_ref(), temporary)?;
        let link = asked.is_symlink().then(|| asked.to_owned());
        Ok(Self { link, home, sockets, account, remark })
    }

    /// Deletes all of it.
    pub fn remove(&self) -> Result<()> {
        let gone = |error: &std::io::Error| error.kind() == std::io::ErrorKind::NotFound;
        for directory in [&self.sockets, &self.home] {
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

    pub fn cluster(&self) -> PathBuf {
        self.home.join("data")
    }

    pub fn server_log(&self) -> PathBuf {
        self.home.join("server.log")
    }

    /// The socket and its lock file, which a killed server leaves behind.
    pub fn socket_files(&self) -> [PathBuf; 2] {
        [self.sockets.join(SOCKET_NAME), self.sockets.join(format!("{SOCKET_NAME}.lock"))]
    }

    /// A URL with the directory of the socket as its host, which takes any path. The database `postgres` is made by
    /// initdb; the cluster is ours alone, so no other is needed.
    pub fn url(&self) -> String {
        format!("postgres://{}@{}/postgres?sslmode=disable", super::SUPERUSER, percent_encoded(&self.sockets))
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
    let stem = format!("{SYSTEM_HOMES}/{}", super::short_hash(unreachable));
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

fn socket_directory(home: &Path, account: Option<&Account>, temporary: &Path) -> Result<PathBuf> {
    let beside = home.join("run");
    let short = format!("rookery-{}", super::short_hash(home));
    let candidates = [beside, temporary.join(&short), Path::new("/tmp").join(&short)];
    let fits = |directory: &&PathBuf| directory.as_os_str().len() + 1 + SOCKET_NAME.len() <= SOCKET_PATH_BYTES;
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

fn percent_encoded(path: &Path) -> String {
    use std::os::unix::ffi::OsStrExt;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let encode = |byte: &u8| if plain(*byte) { char::from(*byte).to_string() } else { format!("%{byte:02X}") };
    path.as_os_str().as_bytes().iter().map(encode).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_url_carries_any_path() {
        assert_eq!(percent_encoded(Path::new("/srv/a b/ü")), "%2Fsrv%2Fa%20b%2F%C3%BC");
    }

    #[test]
    fn a_long_home_keeps_its_data_and_gets_a_short_socket() {
        let base = tempfile::tempdir().unwrap();
        std::fs::set_permissions(base.path(), Permissions::from_mode(0o755)).unwrap();
        let long = base.path().join("d".repeat(120));
        let place = Place::resolve(&long, base.path()).unwrap();
        assert!(place.home.ends_with("d".repeat(120)));
        assert!(place.sockets.as_os_str().len() < 94, "{}", place.sockets.display());
        assert_eq!(place.sockets.metadata().unwrap().permissions().mode() & 0o777, 0o700);
    }
}
