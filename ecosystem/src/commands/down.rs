//! `rookery down`: asks the one who is up to stop, and waits until he is gone.

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
    let life = Life::of(owner.pid);
    for _ in 0..=u8::from(arguments.now) {
        kill_process(pid, Signal::TERM).with_context(|| format!("cannot signal pid {}", owner.pid))?;
        if arguments.now {
            // Two signals that arrive together count as one.
            std::thread::sleep(2 * POLL);
        }
    }
    let start = clock::monotonic();
    let mut reminded = Duration::ZERO;
    // First he lets go of the directory, then he ends.
    while data.owner()?.is_some_and(|now| now.pid == owner.pid) || life.as_ref().is_some_and(Life::lasts) {
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

/// One process, told from a later one of the same number by the moment of its birth.
struct Life {
    pid: i32,
    born: String,
}

impl Life {
    fn of(pid: i32) -> Option<Self> {
        let (_, born) = stat(pid)?;
        Some(Self { pid, born })
    }

    /// A zombie's life is over, somebody else has to take note of it; but its other threads may be on their way out yet.
    fn lasts(&self) -> bool {
        let threads = || std::fs::read_dir(format!("/proc/{}/task", self.pid)).map_or(0, Iterator::count);
        let is_over = |state: &str| matches!(state, "Z" | "X") && threads() <= 1;
        stat(self.pid).is_some_and(|(state, born)| born == self.born && !is_over(&state))
    }
}

/// State and time of birth: fields 3 and 22, counted from behind the name, which may contain anything.
fn stat(pid: i32) -> Option<(String, String)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    Some((fields.next()?.to_owned(), fields.nth(18)?.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_life_lasts_until_the_process_has_ended() {
        let mut child = std::process::Command::new("sleep").arg("600").spawn().unwrap();
        let life = Life::of(child.id().try_into().unwrap()).unwrap();
        assert!(life.lasts());
        let other = Life { born: "1".into(), ..life };
        assert!(!other.lasts());
        let life = Life::of(other.pid).unwrap();
        child.kill().unwrap();
        // Not waited for: it is a zombie first.
        let end = rustix::process::WaitIdOptions::EXITED | rustix::process::WaitIdOptions::NOWAIT;
        rustix::process::waitid(rustix::process::WaitId::Pid(Pid::from_child(&child)), end).unwrap();
        assert!(!life.lasts());
        child.wait().unwrap();
        assert!(!life.lasts() && Life::of(other.pid).is_none());
    }
}
