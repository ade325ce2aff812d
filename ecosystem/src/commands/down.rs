//! `rookery down`: asks the one who is up to stop, and waits until he has.

use super::data_dir;
use crate::cli;
use crate::config::Surroundings;
use crate::say;
use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use shared::clock;
use std::process::ExitCode;
use std::time::Duration;

/// Longer than any drain that can be configured (`DRAIN_SECONDS`) is of no use to the person who waits.
const LIMIT: Duration = Duration::from_secs(600);
const POLL: Duration = Duration::from_millis(25);
const REMIND: Duration = Duration::from_secs(10);

pub fn run(arguments: &cli::Down, surroundings: &Surroundings) -> Result<ExitCode> {
    let data = data_dir(&arguments.place, surroundings);
    let Some(owner) = data.owner()? else {
        say::line(format!("nothing is up in {}", data.path().display()));
        return Ok(ExitCode::SUCCESS);
    };
    // The lock is held and names him: the number cannot be another program's.
    let pid = Pid::from_raw(owner.pid).context("the pid file names no process")?;
    for _ in 0..=u8::from(arguments.now) {
        kill_process(pid, Signal::TERM).with_context(|| format!("cannot signal pid {}", owner.pid))?;
        if arguments.now {
            // Two signals that arrive together count as one.
            std::thread::sleep(2 * POLL);
        }
    }
    let start = clock::monotonic();
    let mut reminded = Duration::ZERO;
    while data.owner()?.is_some_and(|now| now.pid == owner.pid) {
        if start.elapsed() > LIMIT {
            bail!("pid {} has not ended; `rookery down --now` does not wait", owner.pid);
        }
        if start.elapsed() > reminded + REMIND {
            reminded = start.elapsed();
            say::progress("still sending everybody elsewhere (`rookery down --now` ends it)");
        }
        std::thread::sleep(POLL);
    }
    say::line("stopped");
    Ok(ExitCode::SUCCESS)
}
