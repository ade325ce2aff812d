//! A private PostgreSQL, reached through a socket of its own.
//!
//! `start` goes through the parts in this order: `binaries` (which server), the place, `cluster` (initdb, once),
//! `settings` (what it is told), and `server` for the keeper.

mod binaries;
mod cluster;
mod server;
mod settings;

pub use binaries::{Binaries, OLDEST_MAJOR, newest};
pub use settings::Options;

use super::place::Place;
use super::private::{self, Private};
use super::{Kind, Machine, NotInstalled};
use anyhow::{Result, anyhow};
use rustix::process::Signal;
use server::Postgres;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The one user of the cluster; whoever reaches the socket is him.
pub const SUPERUSER: &str = "rookery";
const SOCKET_NAME: &str = ".s.PGSQL.5432";

pub static KIND: Kind = Kind {
    name: "PostgreSQL",
    program: "PostgreSQL server (version 14 or newer)",
    // First the package that owns the setting by which no cluster is made, so that the server's package finds it.
    packages: &["postgresql-common", "postgresql"],
    elsewhere: "DATABASE_URL",
    accounts: &["postgres", "nobody"],
    socket: Some(SOCKET_NAME),
    // A crash recovery reads up to `max_wal_size` of log; killing it half-way would only start it from the beginning.
    start: Duration::from_secs(600),
    // A fast shutdown: sessions are ended, a checkpoint is written. Then an immediate one.
    stop: &[Signal::INT, Signal::QUIT, Signal::KILL],
    orphaned: Signal::INT,
    complaints: &["FATAL", "ERROR"],
    // Without a cluster there is nothing to start.
    services: &[],
    missing: |hints| hints.pg_bin_dir.is_none() && newest(hints).is_none(),
};

pub type PrivatePostgres = Private<Postgres>;

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
        let place = Place::resolve(home, &machine.temporary, &KIND)?;
        let lock = private::lock(&place, &KIND)?;
        let created = cluster::ensure(&place, &binaries)?;
        let arguments = settings::arguments(options, place.sockets());
        let server = Postgres { place, program: binaries.tool("postgres"), arguments };
        Self::run(server, lock, created, options.supervise)
    }

    pub fn cluster(&self) -> PathBuf {
        self.data()
    }
}

fn missing(machine: &Machine) -> anyhow::Error {
    match &machine.hints.pg_bin_dir {
        Some(directory) => {
            anyhow!("PG_BIN_DIR={} holds no PostgreSQL server {OLDEST_MAJOR} or newer", directory.display())
        }
        None => NotInstalled(vec![&KIND]).into(),
    }
}

/// The URL of the server that somebody keeps up in `home`.
pub fn url_of(home: &Path, machine: &Machine) -> Result<String> {
    Ok(server::url(&Place::resolve(home, &machine.temporary, &KIND)?))
}

/// Deletes the stopped server in `home` and all its data, wherever they had to go.
pub fn remove(home: &Path, machine: &Machine) -> Result<()> {
    private::remove(home, &machine.temporary, &KIND)
}
