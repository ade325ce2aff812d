//! Starting one server process on a home, after whatever an earlier one has left there.
//!
//! Whether an earlier server is still alive is decided by a lock that its processes hold, not by a file with a number: a
//! killed server's number may stand for a zombie that nobody has reaped (usual in containers) or, after a restart of the
//! container, for an unrelated process. The lock is an open file, given to the server as its standard input, which all of
//! its processes inherit; the kernel drops it with the last of them, and a zombie holds no files.

use super::Server;
use anyhow::{Context, Result, bail};
use rustix::process::Signal;
use shared::clock;
use std::fs::{File, OpenOptions};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus};
use std::time::Duration;

/// The server's log is cut at a start when it has grown beyond this; one older file is kept.
pub const LOG_BYTES: u64 = 8 << 20;
/// How long the processes of a server that was killed may take to notice it and leave.
const LEAVE: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(10);
/// Where in the end of a log the cause is looked for.
const LAST_LINES: usize = 40;
/// Of a line that is repeated to people.
const LINE_CHARS: usize = 300;

/// Must be called from a thread that lives as long as the server shall: when that thread ends, for whatever reason (the
/// whole program killed with -9, too), the kernel ends the server.
pub fn spawn(server: &dyn Server) -> Result<Child> {
    let lock = wait_for_earlier_server(server)?;
    server.clear()?;
    let log = open_log(&server.place().server_log())?;
    let mut command = server.command();
    command.stdin(lock).stdout(log.try_clone().context("cannot share the server's log")?).stderr(log);
    // A terminal's Ctrl-C goes to the whole foreground group: it must reach us and not the server, which has to outlive
    // our last use of it.
    command.process_group(0);
    die_with_this_thread(&mut command, server.kind().orphaned);
    command.spawn().with_context(|| format!("cannot run {}", command.get_program().display()))
}

/// The file that the server will hold locked; in the end nobody but the server has it open.
fn wait_for_earlier_server(server: &dyn Server) -> Result<File> {
    let path = server.place().home.join("server.lock");
    let lock = open(&path, OpenOptions::new().read(true).write(true))?;
    let start = clock::monotonic();
    let mut told = false;
    while lock.try_lock().is_err() {
        // It had no launcher (we hold that lock) and is not leaving by itself: it lost its launcher in the blink between
        // fork and the death signal. It gets the signal it would have got.
        if !told && start.elapsed() > LEAVE / 4 {
            told = true;
            if let Some(pid) = server.earlier()? {
                let _ = rustix::process::kill_process(pid, server.kind().orphaned);
            }
        }
        if start.elapsed() > LEAVE {
            bail!("an earlier {} still works in {}", server.kind().name, server.place().home.display());
        }
        std::thread::sleep(POLL);
    }
    Ok(lock)
}

/// How a server has ended. What it said last may be a reason only where it ended by itself: a signal came from outside.
pub fn words_of_end(status: std::io::Result<ExitStatus>, server: &dyn Server) -> String {
    match status {
        Ok(status) if status.code().is_some() => format!("{status}; last line: {}", last_words(server)),
        Ok(status) => status.to_string(),
        Err(error) => error.to_string(),
    }
}

/// The last line that complains, or else the last one.
fn last_words(server: &dyn Server) -> String {
    let mut last = None;
    for log in server.logs() {
        let text = std::fs::read(&log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
        let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        let complains = |line: &&&str| server.kind().complaints.iter().any(|word| line.contains(word));
        if let Some(cause) = lines.iter().rev().take(LAST_LINES).find(complains) {
            return cause.chars().take(LINE_CHARS).collect();
        }
        last = last.or(lines.last().map(|line| line.chars().take(LINE_CHARS).collect()));
    }
    last.unwrap_or_else(|| "it left no word in its log".to_owned())
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

/// A signal for the child when the calling thread ends.
///
/// `unsafe` because of `pre_exec`: what runs between fork and exec may only make system calls, no allocation and no lock.
/// These two are nothing else. It is set after the change of user, which would clear it; further programs that the child
/// becomes by exec keep it.
fn die_with_this_thread(command: &mut Command, signal: Signal) {
    let parent = rustix::process::getpid();
    let hook = move || {
        rustix::process::set_parent_process_death_signal(Some(signal))?;
        // Dead before the line above: the signal would never come.
        match rustix::process::getppid() {
            Some(now) if now == parent => Ok(()),
            _ => Err(std::io::Error::from_raw_os_error(rustix::io::Errno::SRCH.raw_os_error())),
        }
    };
    // SAFETY: see above; `hook` only makes system calls.
    unsafe { command.pre_exec(hook) };
}
