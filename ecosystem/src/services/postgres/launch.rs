//! Starting one server process on a cluster, after whatever an earlier one has left there.
//!
//! Whether an earlier server is still alive is decided by a lock that its processes hold, not by `postmaster.pid`: a
//! killed server's number may stand for a zombie that nobody has reaped (usual in containers) or, after a restart of the
//! container, for an unrelated process, and `postgres` itself then refuses to start. The lock is an open file, given to
//! the server as its standard input, which all of its processes inherit; the kernel drops it with the last of them, and
//! a zombie holds no files.

use super::place::Place;
use crate::services::account;
use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal};
use shared::clock;
use std::fs::{File, OpenOptions};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

/// The server's log is cut at a start when it has grown beyond this; one older file is kept.
const LOG_BYTES: u64 = 8 << 20;
/// How long the processes of a server that was killed may take to notice it and leave.
const LEAVE: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(10);

#[derive(Clone, Debug)]
pub struct Launch {
    pub place: Place,
    pub server: PathBuf,
    pub arguments: Vec<String>,
}

impl Launch {
    /// Must be called from a thread that lives as long as the server shall: when that thread ends, for whatever reason
    /// (the whole program killed with -9, too), the kernel tells the server to shut down.
    pub fn spawn(&self) -> Result<Child> {
        let lock = self.wait_for_earlier_server()?;
        self.remove_leftovers()?;
        let log = open_log(&self.place.server_log())?;
        let mut command = account::command(&self.server, self.place.account.as_ref(), &self.place.home);
        command.arg("-D").arg(self.place.cluster()).args(&self.arguments);
        command.stdin(lock).stdout(log.try_clone().context("cannot share the server's log")?).stderr(log);
        // A terminal's Ctrl-C goes to the whole foreground group: it must reach us and not the server, which has to
        // outlive our last transaction.
        command.process_group(0);
        die_with_this_thread(&mut command);
        command.spawn().with_context(|| format!("cannot run {}", self.server.display()))
    }

    /// The file that the server will hold locked; in the end nobody but the server has it open.
    fn wait_for_earlier_server(&self) -> Result<File> {
        let path = self.place.home.join("server.lock");
        let lock = open(&path, OpenOptions::new().read(true).write(true))?;
        let start = clock::monotonic();
        let mut told = false;
        while lock.try_lock().is_err() {
            // It had no launcher (we hold that lock) and is not leaving by itself: it lost its launcher in the blink
            // between fork and the death signal. It gets the shutdown it would have got.
            if !told && start.elapsed() > LEAVE / 4 {
                told = true;
                if let Some(pid) = self.live_server()? {
                    let _ = rustix::process::kill_process(pid, Signal::INT);
                }
            }
            if start.elapsed() > LEAVE {
                bail!("an earlier server still works in {}", self.place.cluster().display());
            }
            std::thread::sleep(POLL);
        }
        Ok(lock)
    }

    /// What a killed server leaves behind makes the next one refuse to start. A server that somebody has started by hand
    /// does not hold our lock, so it is looked for once more.
    fn remove_leftovers(&self) -> Result<()> {
        if let Some(pid) = self.live_server()? {
            let cluster = self.place.cluster();
            bail!(
                "a server that rookery has not started works in {} (pid {})",
                cluster.display(),
                pid.as_raw_nonzero()
            );
        }
        let [socket, socket_lock] = self.place.socket_files();
        for file in [self.pid_file(), socket, socket_lock] {
            match std::fs::remove_file(&file) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(error).with_context(|| format!("cannot remove {}", file.display()));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The process that `postmaster.pid` names, if it is alive and really works on this cluster: both are in its
    /// command line, which everybody may read and which a zombie does not have.
    fn live_server(&self) -> Result<Option<Pid>> {
        use std::os::unix::ffi::OsStrExt;
        let Some(pid) = self.pid_file_line(0).and_then(|line| line.parse().ok()).and_then(Pid::from_raw) else {
            return Ok(None);
        };
        let command_line = std::fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).unwrap_or_default();
        let cluster = self.place.cluster();
        let ours = command_line.split(|byte| *byte == 0).any(|argument| argument == cluster.as_os_str().as_bytes());
        Ok(ours.then_some(pid))
    }

    /// Whether the server `pid` takes connections: the last line of its file says so (what `pg_ctl --wait` reads).
    pub fn is_ready(&self, pid: Pid) -> bool {
        let its_own = self.pid_file_line(0).is_some_and(|line| line == pid.as_raw_nonzero().to_string());
        its_own && self.pid_file_line(7).is_some_and(|line| line == "ready")
    }

    fn pid_file(&self) -> PathBuf {
        self.place.cluster().join("postmaster.pid")
    }

    fn pid_file_line(&self, line: usize) -> Option<String> {
        let text = std::fs::read_to_string(self.pid_file()).ok()?;
        text.lines().nth(line).map(|line| line.trim().to_owned())
    }
}

fn open_log(path: &Path) -> Result<File> {
    if path.metadata().is_ok_and(|log| log.len() > LOG_BYTES) {
        std::fs::rename(path, path.with_extension("log.1")).context("cannot set the server's old log aside")?;
    }
    open(path, OpenOptions::new().append(true))
}

/// Never through a link: as root we write here on behalf of others.
fn open(path: &Path, options: &mut OpenOptions) -> Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    let no_follow = rustix::fs::OFlags::NOFOLLOW.bits();
    options.create(true).mode(0o600).custom_flags(no_follow as i32);
    options.open(path).with_context(|| format!("cannot open {}", path.display()))
}

/// Fast shutdown for the child when the calling thread ends.
///
/// `unsafe` because of `pre_exec`: what runs between fork and exec may only make system calls, no allocation and no lock.
/// These two are nothing else. It is set after the change of user, which would clear it.
fn die_with_this_thread(command: &mut Command) {
    let parent = rustix::process::getpid();
    let hook = move || {
        rustix::process::set_parent_process_death_signal(Some(Signal::INT))?;
        // Dead before the line above: the signal would never come.
        match rustix::process::getppid() {
            Some(now) if now == parent => Ok(()),
            _ => Err(std::io::Error::from_raw_os_error(rustix::io::Errno::SRCH.raw_os_error())),
        }
    };
    // SAFETY: see above; `hook` only makes system calls.
    unsafe { command.pre_exec(hook) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pid_file_with_the_number_of_an_unrelated_process_names_nobody() {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir(home.path().join("data")).unwrap();
        std::fs::write(home.path().join("data/postmaster.pid"), format!("{}\n", std::process::id())).unwrap();
        let place =
            Place { link: None, home: home.path().into(), sockets: home.path().into(), account: None, remark: None };
        let launch = Launch { place, server: "postgres".into(), arguments: Vec::new() };
        assert!(launch.live_server().unwrap().is_none());
        launch.remove_leftovers().unwrap();
        assert!(!launch.pid_file().exists());
    }
}
