//! A private PostgreSQL: found on the machine, made in a directory of ours, reached through a socket of its own, and
//! ended with the program that started it, however that ends. Nothing of a PostgreSQL that the machine may be running
//! is used or disturbed; the default port may be taken.
//!
//! `start` goes through the parts in this order: `place` (where, and as whom), `binaries` (which server), `cluster`
//! (initdb, once), `settings` (what it is told), `keeper` (the thread that has it as its child) with `launch` (one start).

mod binaries;
mod cluster;
mod keeper;
mod launch;
mod place;
mod settings;

pub use binaries::{Binaries, Hints, OLDEST_MAJOR, newest};
pub use settings::Options;

use anyhow::{Context, Result, anyhow, bail};
use keeper::Keeper;
use launch::Launch;
use place::Place;
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

/// The one user of the cluster; whoever reaches the socket is him.
pub const SUPERUSER: &str = "rookery";

/// A server that takes connections. Dropping it stops it.
pub struct PrivatePostgres {
    keeper: Keeper,
    place: Place,
    created: bool,
    /// One launcher per home. The lock goes with the open file, so a killed launcher never leaves one behind.
    _lock: File,
}

/// What has to be known of the machine: read from the environment in `config`.
#[derive(Clone, Debug, Default)]
pub struct Machine {
    pub hints: Hints,
    /// For a socket whose own directory has too long a name.
    pub temporary: PathBuf,
}

/// No server binary is there: the one failure that the caller can do something about (`debian::install_postgres`).
#[derive(Debug, thiserror::Error)]
#[error(
    "no PostgreSQL server (version {OLDEST_MAJOR} or newer) is on this machine: apt-get install postgresql, or set DATABASE_URL"
)]
pub struct NotInstalled;

impl PrivatePostgres {
    /// Starts a server on the cluster in `home`, which is made if it is not there. Blocks until connections are taken;
    /// the first time that is about a second, later a tenth of one.
    pub fn start(home: &Path, machine: &Machine, options: &Options) -> Result<Self> {
        // Before anything is written: a machine without PostgreSQL is left as it was.
        let newest = binaries::newest(&machine.hints);
        let made_by = match home.join("data/PG_VERSION").exists() {
            true => Some(binaries::major_of_cluster(&home.join("data"))?),
            false => None,
        };
        let binaries = match made_by {
            Some(major) => binaries::of_major(major, &machine.hints)?,
            None => newest.map_or_else(|| Err(missing(machine)), Ok)?,
        };
        let place = Place::resolve(home, &machine.temporary)?;
        let lock = lock(&place.home)?;
        let created = cluster::ensure(&place, &binaries)?;
        let arguments = settings::arguments(options, &place.sockets);
        let launch = Launch { place: place.clone(), server: binaries.tool("postgres"), arguments };
        let keeper = Keeper::start(launch, options.supervise)?;
        Ok(Self { keeper, place, created, _lock: lock })
    }

    /// For any client that takes a `postgres://` URL with a socket directory as its host. Superuser; the maintenance
    /// database. The same as long as the home stays where it is.
    pub fn url(&self) -> String {
        self.place.url()
    }

    pub fn pid(&self) -> Option<u32> {
        self.keeper.pid()
    }

    /// Whether this start has made the cluster.
    pub fn created(&self) -> bool {
        self.created
    }

    pub fn cluster(&self) -> PathBuf {
        self.place.cluster()
    }

    /// One line about an unusual place of the data.
    pub fn remark(&self) -> Option<&str> {
        self.place.remark.as_deref()
    }

    /// SIGKILL; returns when the server is dead. It stays dead until `restart`, unless it is supervised.
    pub fn kill(&self) {
        self.keeper.kill();
    }

    /// In order if it is up, from what was left if it was killed.
    pub fn restart(&self) -> Result<()> {
        self.keeper.down();
        self.keeper.up()
    }

    /// In order: sessions ended, checkpoint written. `restart` brings it back.
    pub fn stop(&self) {
        self.keeper.down();
    }

    /// Stops it and deletes everything it has kept. For servers of tests.
    pub fn remove(self) -> Result<()> {
        let Self { keeper, place, .. } = self;
        drop(keeper);
        place.remove()
    }
}

/// Deletes the stopped server in `home` and all its data, wherever they had to go.
pub fn remove(home: &Path, machine: &Machine) -> Result<()> {
    let place = Place::resolve(home, &machine.temporary)?;
    let _lock = lock(&place.home)?;
    place.remove()
}

fn missing(machine: &Machine) -> anyhow::Error {
    match &machine.hints.bin_dir {
        Some(directory) => {
            anyhow!("PG_BIN_DIR={} holds no PostgreSQL server {OLDEST_MAJOR} or newer", directory.display())
        }
        None => NotInstalled.into(),
    }
}

/// The URL of the server that somebody keeps up in `home`.
pub fn url_of(home: &Path, machine: &Machine) -> Result<String> {
    Ok(Place::resolve(home, &machine.temporary)?.url())
}

fn lock(home: &Path) -> Result<File> {
    let path = home.join("launcher.lock");
    let file = File::options().create(true).truncate(false).write(true).open(&path);
    let file = file.with_context(|| format!("cannot open {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => bail!("the database in {} is in use by another rookery", home.display()),
        Err(TryLockError::Error(error)) => Err(error).context("cannot lock the database's directory"),
    }
}

/// A short name for a path, the same on every run and with every version.
fn short_hash(path: &Path) -> String {
    use std::os::unix::ffi::OsStrExt;
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, path.as_os_str().as_bytes());
    digest.as_ref().iter().take(6).map(|byte| format!("{byte:02x}")).collect()
}
