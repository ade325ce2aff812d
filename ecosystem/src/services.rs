//! The engines that `rookery` starts by itself where none is configured: from the machine's own binaries, as an
//! unprivileged user, on sockets or ports of their own, and gone with it. Nothing of a PostgreSQL, Redis or RabbitMQ that
//! the machine may be running is used or disturbed; the default ports may be taken.
//!
//! What they have in common: `place` (where, and as whom), `keeper` (the thread that has the server as its child) with
//! `launch` (one start), and `private` (what their owner holds). What differs is a `Kind` and a `Server` each.

pub mod account;
pub mod debian;
mod keeper;
mod launch;
mod place;
pub mod postgres;
pub mod private;
pub mod rabbitmq;
pub mod redis;

use place::Place;
use rustix::process::{Pid, Signal};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

/// What has to be known of the machine: read from the environment in `config`.
#[derive(Clone, Debug, Default)]
pub struct Machine {
    pub hints: Hints,
    /// For a socket whose own directory has too long a name.
    pub temporary: PathBuf,
}

/// Where to look for programs besides the fixed places: `PG_BIN_DIR` and `PATH`.
#[derive(Clone, Debug, Default)]
pub struct Hints {
    pub pg_bin_dir: Option<PathBuf>,
    pub path: Vec<PathBuf>,
}

/// What is fixed for all servers of one engine.
#[derive(Debug)]
pub struct Kind {
    pub name: &'static str,
    /// What has to be on the machine, in words.
    pub program: &'static str,
    /// Debian's packages, in the order in which they are to be installed.
    pub packages: &'static [&'static str],
    /// The setting that names a server which somebody else runs.
    pub elsewhere: &'static str,
    /// Who it runs as when we are root; the first that the machine has.
    pub accounts: &'static [&'static str],
    /// The file name of its socket, if it is reached through one.
    pub socket: Option<&'static str>,
    /// How long it may take until it takes connections.
    pub start: Duration,
    /// What it is told to stop by; the next signal when the one before has not helped.
    pub stop: &'static [Signal],
    /// What the kernel sends when the launcher has died: a signal that ends it at any moment of its life.
    pub orphaned: Signal,
    /// Lines of its log that may name the cause of an end contain one of these.
    pub complaints: &'static [&'static str],
    /// The services that its packages set up; ours is none of them.
    pub services: &'static [&'static str],
    /// Whether the machine lacks it and nothing says where else it is.
    pub missing: fn(&Hints) -> bool,
}

/// Server programs that are not there, in one line that says what to do about it.
#[derive(Debug, thiserror::Error)]
pub struct NotInstalled(pub Vec<&'static Kind>);

impl std::fmt::Display for NotInstalled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let each = |part: fn(&Kind) -> &str| self.0.iter().map(|kind| part(kind)).collect::<Vec<_>>();
        let (programs, settings) = (each(|kind| kind.program).join(", no "), each(|kind| kind.elsewhere).join(" and "));
        let packages = each(|kind| kind.packages.last().copied().unwrap_or_default()).join(" ");
        write!(f, "no {programs} on this machine: apt-get install {packages}, or set {settings}")
    }
}

/// One server: a program on a home. The keeper starts it as often as it is wanted.
pub trait Server: Send + Sync + 'static {
    fn kind(&self) -> &'static Kind;
    fn place(&self) -> &Place;
    /// For clients; the same as long as the home stays where it is.
    fn url(&self) -> String;
    /// The program with its arguments and environment, to run as the place's account.
    fn command(&self) -> Command;
    /// Removes what a killed server leaves behind and the next one stumbles over. None of ours is alive.
    fn clear(&self) -> anyhow::Result<()>;
    /// Whether the server `pid` takes connections.
    fn is_ready(&self, pid: Pid) -> bool;

    /// An earlier server that still works on this home and may have missed `orphaned`. A signal that cannot be missed
    /// needs no such look.
    fn earlier(&self) -> anyhow::Result<Option<Pid>> {
        Ok(None)
    }

    /// Where its words are, the most telling file first.
    fn logs(&self) -> Vec<PathBuf> {
        vec![self.place().server_log()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named_in_one_line_with_what_to_do() {
        let one = NotInstalled(vec![&self::redis::KIND]).to_string();
        assert_eq!(
            one,
            "no Redis server (version 7 or newer) on this machine: apt-get install redis-server, or set REDIS_URL"
        );
        let two = NotInstalled(vec![&postgres::KIND, &rabbitmq::KIND]).to_string();
        assert!(two.contains("install postgresql rabbitmq-server, or set DATABASE_URL and AMQP_URL"), "{two}");
    }
}
