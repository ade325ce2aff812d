//! `rookery reload`: has the launcher replace its processes, waits, and tells what came of it.

use super::data_dir;
use crate::cluster::processes::{self, Outcome};
use crate::config::Surroundings;
use crate::{cli, say};
use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use shared::clock;
use std::process::ExitCode;
use std::time::Duration;

const POLL: Duration = Duration::from_millis(25);
const REMIND: Duration = Duration::from_secs(10);

pub fn run(place: &cli::Place, surroundings: &Surroundings) -> Result<ExitCode> {
    let data = data_dir(place, surroundings);
    // With an address: all of its processes were ready once.
    let (owner, _) = super::running(&data)?;
    let Some(before) = processes::of(&data, &owner)? else {
        bail!(
            "`rookery up` is one process (pid {}) and cannot be replaced while it serves: `rookery down`, then `rookery up`; or `rookery up --cluster`",
            owner.pid
        );
    };
    if before.reload.as_ref().is_some_and(|reload| reload.outcome == Outcome::Running) {
        bail!("a reload is under way already");
    }
    let number = before.reload.map_or(0, |reload| reload.number);
    let pid = Pid::from_raw(owner.pid).context("the pid file names no process")?;
    kill_process(pid, Signal::USR2).with_context(|| format!("cannot signal pid {}", owner.pid))?;
    let (start, mut reminded) = (clock::monotonic(), Duration::ZERO);
    loop {
        std::thread::sleep(POLL);
        if data.owner()?.is_none_or(|now| now.pid != owner.pid) {
            bail!("the launcher (pid {}) has ended", owner.pid);
        }
        let now = processes::of(&data, &owner)?.and_then(|processes| processes.reload);
        match now.filter(|reload| reload.number > number) {
            Some(reload) if reload.outcome == Outcome::Done => {
                say::line(reload.words);
                return Ok(ExitCode::SUCCESS);
            }
            Some(reload) if reload.outcome == Outcome::Failed => bail!("{}", reload.words),
            _ => {}
        }
        if start.elapsed() > reminded + REMIND {
            reminded = start.elapsed();
            say::progress("the old processes are still sending everybody elsewhere (`rookery status`)");
        }
    }
}
