//! Work on the source, for `test`, `lint` and `bench`: cargo in the checkout, run to its end with its own words on the
//! terminal.

use crate::config::Surroundings;
use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};
use std::process::{Command, ExitCode};
use tokio::signal::unix::{SignalKind, signal};

pub fn cargo(surroundings: &Surroundings) -> Result<Command> {
    let checkout = surroundings.checkout()?;
    let mut command = Command::new(&surroundings.cargo);
    command.current_dir(checkout);
    Ok(command)
}

/// Its exit code is ours. A Ctrl-C reaches the command by itself (same terminal); we only wait for it to end, so that what
/// was started for it is still cleaned up. A SIGTERM is passed on.
pub fn run_to_end(command: Command) -> Result<ExitCode> {
    let name = command.get_program().to_string_lossy().into_owned();
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start a runtime")?;
    let status = runtime.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut child = tokio::process::Command::from(command).spawn()?;
        let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
        loop {
            tokio::select! {
                status = child.wait() => return status,
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {
                    // Not reaped yet: `wait` has not returned.
                    pid.map(|pid| kill_process(pid, Signal::TERM)).transpose()?;
                }
            }
        }
    });
    let status = status.with_context(|| format!("cannot run {name}"))?;
    // Ended by a signal: as a shell would say it.
    let code =
        status.code().or_else(|| std::os::unix::process::ExitStatusExt::signal(&status).map(|signal| 128 + signal));
    Ok(ExitCode::from(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)))
}
