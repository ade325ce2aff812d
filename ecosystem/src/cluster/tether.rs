//! A process of a cluster must not outlive its launcher, however that ends. It asks the kernel for that itself, as the
//! first thing it does: the launcher then needs no code between fork and exec.

use anyhow::{Context, Result, bail};
use rustix::process::{Signal, getppid, set_parent_process_death_signal};

/// From now on this process is killed when the *thread* that started it ends; the launcher starts its processes from its
/// main thread. Killed and not asked to drain: whoever comes after the launcher needs the port, and all that was
/// answered is stored.
pub fn to(launcher: i32) -> Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL)).context("cannot be tied to the launcher")?;
    // Where it died before the line above, the signal would never come.
    if getppid().map(|pid| pid.as_raw_nonzero().get()) != Some(launcher) {
        bail!("the launcher (pid {launcher}) has ended, or has not started this process");
    }
    Ok(())
}
