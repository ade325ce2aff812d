//! `loadtest`: Rookery's load generator. It drives a running server through its public interface only (API.md: REST to
//! set up, the native socket to measure), from one thread, and says what it found as a table and as JSON.
//!
//! setup (accounts, rooms) → socket (open, hello) → idle or rooms (measure, check) → report. `limit` needs no server.

mod beside;
mod database;
mod http;
mod idle;
mod limit;
mod process;
mod reconnect;
mod report;
mod rooms;
mod setup;
mod socket;
mod standard;
mod watch;
mod wire;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use rustix::process::{Resource, getrlimit, setrlimit};
use setup::World;
use std::path::PathBuf;
use std::process::ExitCode;

/// Sockets one process opens at most; common limits on open files are 20,000.
pub const SOCKETS_LIMIT: usize = 19_000;

#[derive(Parser, Debug)]
#[command(
    version,
    about = "Rookery's load generator",
    after_help = "Exit codes: 0 measured; 1 could not measure; 2 wrong arguments; 3 the server broke a promise (a message \
                  lost, doubled or out of order, an idle socket closed); 4 the generator did not keep its own plan, \
                  the figures are invalid."
)]
struct Cli {
    #[command(subcommand)]
    mode: Mode,
    /// Write the results to this file as well, as JSON
    #[arg(long, global = true, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Scheduling priority of this process. Negative ones (root only) keep the generator to its plan on a crowded machine, but
    /// an eager reader gets fewer frames a read and leaves the server less; where the kernel groups by session
    /// (sched_autogroup), it counts only against programs of the same session
    #[arg(long, global = true, default_value_t = 0, allow_negative_numbers = true, value_parser = clap::value_parser!(i32).range(-20..=19))]
    nice: i32,
}

#[derive(Subcommand, Debug)]
enum Mode {
    /// Hold many authenticated sockets and say what they cost the server's processes.
    ///
    /// Start the server afresh before: one that has served already holds freed memory, which the sockets fill first or
    /// which it gives back while they come.
    Idle(idle::Options),
    /// Offer messages to rooms, open loop, and check every delivery; without --rate find the maximum
    Rooms(rooms::Options),
    /// Kill one of several gateways and let its clients come back, while others go on talking
    Reconnect(Box<reconnect::Options>),
    /// A part of `reconnect`, which starts it
    #[command(hide = true)]
    ReconnectPart,
    /// Measure what bare write(2), bare inserts and fdatasync reach on this machine
    Limit(limit::Options),
    /// The runs of the documentation: limit, idle 2,000, rooms 100 × 10 at 300/s and at the maximum
    Standard(Box<standard::Options>),
    /// Set two runs beside each other, from the files that --json has written
    Beside(beside::Options),
}

/// What a run means for the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The server broke a promise.
    pub broken: bool,
    /// The generator kept its plan.
    pub valid: bool,
}

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(Verdict { broken: true, .. }) => ExitCode::from(3),
        Ok(Verdict { valid: false, .. }) => ExitCode::from(4),
        Ok(_) => ExitCode::SUCCESS,
        Err(e) => {
            report::warn(&format!("{e:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<Verdict> {
    raise_open_files();
    // Where it is not allowed the run goes on as it is: its own check says whether it kept up.
    let _ = rustix::process::setpriority_process(None, cli.nice);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting the runtime")?;
    let json = cli.json.as_deref();
    match &cli.mode {
        Mode::Idle(options) => {
            let report = idle::run(&runtime, options, &mut World::open(&options.setup, options.socket.sources)?)?;
            report.table().print()?;
            write(json, "idle", &report)?;
            Ok(report.verdict())
        }
        Mode::Rooms(options) => {
            let report = rooms::run(&runtime, options, &mut World::open(&options.setup, options.socket.sources)?)?;
            report.table().print()?;
            write(json, "rooms", &report)?;
            Ok(report.verdict())
        }
        Mode::Reconnect(options) => {
            let report = reconnect::run(&runtime, options, &mut World::open(&options.setup, options.socket.sources)?)?;
            report.table().print()?;
            write(json, "reconnect", &report)?;
            Ok(report.verdict())
        }
        Mode::ReconnectPart => reconnect::part::run(),
        Mode::Limit(options) => {
            let report = limit::run(&runtime, options)?;
            report.table().print()?;
            write(json, "limit", &report)?;
            Ok(Verdict { broken: false, valid: true })
        }
        Mode::Standard(options) => {
            let report = standard::run(&runtime, options, &mut World::open(&options.setup, options.socket.sources)?)?;
            write(json, "standard", &report)?;
            Ok(report.verdict())
        }
        Mode::Beside(options) => {
            beside::run(options)?;
            Ok(Verdict { broken: false, valid: true })
        }
    }
}

fn write<T: serde::Serialize>(path: Option<&std::path::Path>, mode: &str, report: &T) -> Result<()> {
    path.map_or(Ok(()), |path| report::write_json(path, serde_json::json!({ mode: report })))
}

/// As many open files as this process may have; if that is too few, opening sockets will say so.
fn raise_open_files() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // Cannot be refused below the maximum; if it were, the sockets' own errors tell.
    let _ = setrlimit(Resource::Nofile, limit);
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
        assert!(
            Cli::try_parse_from(["loadtest", "rooms", "--rate", "300", "--cpu-of", "rookery=1,postgres=2+"]).is_ok()
        );
        assert!(Cli::try_parse_from(["loadtest", "idle", "--sockets", "20000"]).is_err());
        assert!(Cli::try_parse_from(["loadtest", "beside", "a.json", "b.json", "--names", "up", "cluster"]).is_ok());
        assert!(Cli::try_parse_from(["loadtest", "reconnect"]).is_err(), "whom to kill, and where the crowd is put");
    }
}
