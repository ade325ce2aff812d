//! A private RabbitMQ, reached through a port of its own on the loopback address with a password of its own: it knows no
//! other way in.
//!
//! `start` goes through the parts in this order: `program` (which one), the place, `access` (port and password), and
//! `server` for the keeper.

mod access;
mod program;
mod server;

pub use program::{Program, found};

use super::place::{Place, private_directory};
use super::private::{self, Private};
use super::{Kind, Machine, NotInstalled};
use access::Access;
use anyhow::{Context, Result};
use rustix::process::Signal;
use server::RabbitMq;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub static KIND: Kind = Kind {
    name: "RabbitMQ",
    program: "RabbitMQ server (version 3.10 or newer)",
    packages: &["rabbitmq-server"],
    elsewhere: "AMQP_URL",
    accounts: &["rabbitmq", "nobody"],
    socket: None,
    // Some seconds of processor time, which others may want as well.
    start: Duration::from_secs(300),
    stop: &[Signal::TERM, Signal::KILL],
    // Erlang drops the signals that come in the tenth of a second before it can handle them: a launcher that died then
    // would be outlived. What RabbitMQ has confirmed of durable queues survives it.
    orphaned: Signal::KILL,
    complaints: &["Error during startup", "init terminating", "not found", "could_not"],
    services: &["rabbitmq-server", "epmd"],
    missing: |hints| found(hints).is_none(),
};

/// What differs between the servers we start.
#[derive(Clone, Debug)]
pub struct Options {
    /// Erlang's threads: how many cores it may use.
    pub schedulers: u32,
    /// Start the server again when it dies without having been asked to.
    pub supervise: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { schedulers: 2, supervise: true }
    }
}

impl Options {
    /// For tests: dead when killed, because the test decides when it comes back.
    pub fn for_tests() -> Self {
        Self { supervise: false, ..Self::default() }
    }
}

pub type PrivateRabbit = Private<RabbitMq>;

impl PrivateRabbit {
    /// Starts a server in `home`. Blocks until it takes connections, which is some seconds.
    pub fn start(home: &Path, machine: &Machine, options: &Options) -> Result<Self> {
        // Before anything is written: a machine without RabbitMQ is left as it was.
        let program = found(&machine.hints).ok_or_else(|| NotInstalled(vec![&KIND]))?;
        let place = Place::resolve(home, &machine.temporary, &KIND)?;
        let lock = private::lock(&place, &KIND)?;
        let finished = finished(&place);
        let created = !finished.exists();
        if created {
            start_over(&place)?;
        }
        private_directory(&place.data(), place.account.as_ref())?;
        let access = Access::of(&place)?;
        let server = RabbitMq {
            place,
            program: program.path,
            access,
            schedulers: options.schedulers,
            search: machine.hints.path.clone(),
        };
        server.write_settings()?;
        let started = Self::run(server, lock, created, options.supervise)?;
        std::fs::write(&finished, "").with_context(|| format!("cannot write {}", finished.display()))?;
        Ok(started)
    }
}

/// Says that the data has been made completely: whoever is killed before leaves something that may not start again, and
/// that nobody has put anything into.
fn finished(place: &Place) -> PathBuf {
    place.home.join("finished")
}

fn start_over(place: &Place) -> Result<()> {
    match std::fs::remove_dir_all(place.data()) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", place.data().display()))
        }
        _ => Ok(()),
    }
}

/// The URL of the server that somebody keeps up in `home`.
pub fn url_of(home: &Path, machine: &Machine) -> Result<String> {
    Ok(Access::read(&Place::resolve(home, &machine.temporary, &KIND)?)?.url())
}

/// Deletes the stopped server in `home` and all its data, wherever they had to go.
pub fn remove(home: &Path, machine: &Machine) -> Result<()> {
    private::remove(home, &machine.temporary, &KIND)
}
