//! A private Redis, reached through a socket of its own. What it holds is soft state: nothing is written to the disk, and
//! each start is an empty one.

mod program;
mod server;

pub use program::{Program, found};

use super::place::{Place, private_directory};
use super::private::{self, Private};
use super::{Kind, Machine, NotInstalled};
use anyhow::Result;
use rustix::process::Signal;
use server::Redis;
use std::path::Path;
use std::time::Duration;

const SOCKET_NAME: &str = "redis.sock";

pub static KIND: Kind = Kind {
    name: "Redis",
    program: "Redis server (version 7 or newer)",
    packages: &["redis-server"],
    elsewhere: "REDIS_URL",
    accounts: &["redis", "nobody"],
    socket: Some(SOCKET_NAME),
    start: Duration::from_secs(60),
    stop: &[Signal::TERM, Signal::KILL],
    // It has nothing to save, and a script that runs holds the other signals up.
    orphaned: Signal::KILL,
    complaints: &["FATAL", "Fatal", "Failed", "failed", "can't", "Can't"],
    services: &["redis-server"],
    missing: |hints| found(hints).is_none(),
};

/// What differs between the servers we start.
#[derive(Clone, Debug)]
pub struct Options {
    /// When it is full, writes are refused: routes and inboxes must never be thrown out in silence, and the machine's
    /// memory belongs to others too.
    pub max_memory_mib: u32,
    /// Start the server again when it dies without having been asked to.
    pub supervise: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { max_memory_mib: 1024, supervise: true }
    }
}

impl Options {
    /// For tests: dead when killed, because the test decides when it comes back.
    pub fn for_tests() -> Self {
        Self { supervise: false, ..Self::default() }
    }
}

pub type PrivateRedis = Private<Redis>;

impl PrivateRedis {
    /// Starts a server in `home`. Blocks until it takes connections, which is a hundredth of a second.
    pub fn start(home: &Path, machine: &Machine, options: &Options) -> Result<Self> {
        // Before anything is written: a machine without Redis is left as it was.
        let program = found(&machine.hints).ok_or_else(|| NotInstalled(vec![&KIND]))?;
        let place = Place::resolve(home, &machine.temporary, &KIND)?;
        let lock = private::lock(&place, &KIND)?;
        let created = !place.data().exists();
        private_directory(&place.data(), place.account.as_ref())?;
        let server = Redis { place, program: program.path, max_memory_mib: options.max_memory_mib };
        Self::run(server, lock, created, options.supervise)
    }
}

/// The URL of the server that somebody keeps up in `home`.
pub fn url_of(home: &Path, machine: &Machine) -> Result<String> {
    Ok(server::url(&Place::resolve(home, &machine.temporary, &KIND)?))
}

/// Deletes the stopped server in `home`.
pub fn remove(home: &Path, machine: &Machine) -> Result<()> {
    private::remove(home, &machine.temporary, &KIND)
}
