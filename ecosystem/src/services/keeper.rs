//! The thread that has the server as its child: it starts it, reaps it, and starts it again when it died unasked.
//!
//! One thread for the server's whole life, because the kernel ties a child's death signal to the *thread* that made it
//! (`launch`): a pool's thread would end some day and take the server along. The thread sleeps in `waitid`; everybody
//! else says what is wanted through the state and, where the server has to end for it, a signal.

use super::{Kind, Server, launch};
use anyhow::{Context, Result, anyhow, bail};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};
use shared::clock;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// How long one signal may take to help.
const STOP: Duration = Duration::from_secs(30);
/// The same signal once more: a server that is just starting may drop it (Erlang does, before its signals' handler is
/// there).
const STOP_AGAIN: Duration = Duration::from_secs(1);
const POLL: Duration = Duration::from_millis(5);
/// The same for a server that has come back, which nobody waits for.
const POLL_BACK: Duration = Duration::from_millis(50);
/// Between two deaths: doubled each time, and forgotten after a life of `STEADY`.
const PAUSE_SHORTEST: Duration = Duration::from_millis(50);
const PAUSE_LONGEST: Duration = Duration::from_secs(5);
const STEADY: Duration = Duration::from_secs(60);

pub struct Keeper {
    server: Arc<dyn Server>,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    wanted: Wanted,
    /// Set while the process exists, alive or not yet reaped: its number cannot mean another process.
    server: Option<Pid>,
    /// When it was started last, in Unix seconds.
    since: u64,
    /// Whether it has taken connections since it was last wanted up. Who dies before is not started again: it would die
    /// of the same cause.
    was_ready: bool,
    /// Why there is no server although one was wanted; it then waits to be wanted again.
    failure: Option<anyhow::Error>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Up,
    Down,
    /// Down, and the thread ends.
    Gone,
}

impl Keeper {
    pub fn start(server: Arc<dyn Server>, supervise: bool) -> Result<Self> {
        let state = State { wanted: Wanted::Up, server: None, since: 0, was_ready: false, failure: None };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() });
        let (for_thread, server_there) = (Arc::clone(&shared), Arc::clone(&server));
        let thread = std::thread::Builder::new()
            .name(server.kind().name.to_owned())
            .spawn(move || keep(&*server_there, &for_thread, supervise))
            .context("cannot start a thread")?;
        let keeper = Self { server, shared, thread: Some(thread) };
        keeper.wait_ready()?;
        Ok(keeper)
    }

    pub fn pid(&self) -> Option<u32> {
        self.shared.lock().server.map(|pid| pid.as_raw_nonzero().get().unsigned_abs())
    }

    /// When the server was started, in Unix seconds; `None` while there is none.
    pub fn since(&self) -> Option<u64> {
        let state = self.shared.lock();
        state.server.map(|_| state.since)
    }

    /// Until the server takes connections.
    pub fn wait_ready(&self) -> Result<()> {
        let (start, kind) = (clock::monotonic(), self.server.kind());
        while start.elapsed() < kind.start {
            let server = {
                let mut state = self.shared.lock();
                if let Some(failure) = state.failure.take() {
                    return Err(failure);
                }
                state.server
            };
            if server.is_some_and(|pid| self.server.is_ready(pid)) {
                self.shared.lock().was_ready = true;
                return Ok(());
            }
            std::thread::sleep(POLL);
        }
        let log = self.server.place().server_log();
        bail!("{} is not ready after {} s; see {}", kind.name, kind.start.as_secs(), log.display())
    }

    /// As a power cut would: no warning, nothing flushed. It stays down unless supervised.
    pub fn kill(&self) {
        let mut state = self.shared.lock();
        if let Some(pid) = state.server {
            let _ = rustix::process::kill_process(pid, Signal::KILL);
        }
        while state.server.is_some() {
            state = self.shared.wait(state);
        }
    }

    pub fn up(&self) -> Result<()> {
        {
            let mut state = self.shared.lock();
            (state.failure, state.was_ready) = (None, false);
        }
        self.want(Wanted::Up);
        self.wait_ready()
    }

    /// In order. Who does not finish in time is ended the hard way, which costs the next start a recovery and nothing
    /// else.
    pub fn down(&self) {
        self.take_down(Wanted::Down);
    }

    fn take_down(&self, wanted: Wanted) {
        self.want(wanted);
        let start = clock::monotonic();
        let mut state = self.shared.lock();
        while let Some(pid) = state.server {
            let _ = rustix::process::kill_process(pid, signal_after(start.elapsed(), self.server.kind()));
            state = self.shared.wait_for(state, STOP_AGAIN);
        }
    }

    fn want(&self, wanted: Wanted) {
        self.shared.lock().wanted = wanted;
        self.shared.changed.notify_all();
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.take_down(Wanted::Gone);
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

impl Shared {
    /// Every change is one assignment, so a panic of another holder leaves nothing half done.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
    }

    fn wait_for<'a>(&self, state: MutexGuard<'a, State>, limit: Duration) -> MutexGuard<'a, State> {
        self.changed.wait_timeout(state, limit).unwrap_or_else(PoisonError::into_inner).0
    }
}

/// What a server is told that has not stopped for so long.
fn signal_after(waited: Duration, kind: &Kind) -> Signal {
    let step = usize::try_from(waited.as_secs() / STOP.as_secs()).unwrap_or(usize::MAX);
    kind.stop.get(step).copied().unwrap_or(Signal::KILL)
}

fn keep(server: &dyn Server, shared: &Shared, supervise: bool) {
    let (mut pause, mut is_back) = (PAUSE_SHORTEST, false);
    loop {
        let mut state = shared.lock();
        while state.wanted == Wanted::Down {
            state = shared.wait(state);
        }
        if state.wanted == Wanted::Gone {
            return;
        }
        drop(state);
        let born = clock::monotonic();
        let end = live(server, shared, supervise, is_back);
        is_back = end.is_some();
        let Some(end) = end else { continue };
        let state = shared.lock();
        tracing::error!(error = format!("{end:#}"), "{} ended unasked; it is started again", server.kind().name);
        pause = if born.elapsed() > STEADY { PAUSE_SHORTEST } else { pause };
        drop(shared.wait_for(state, pause));
        pause = (pause * 2).min(PAUSE_LONGEST);
    }
}

/// One life of the server, from its start to its reaping. Returns why it ended if it is to be started again; `is_back`: it
/// was started again.
fn live(server: &dyn Server, shared: &Shared, supervise: bool, is_back: bool) -> Option<anyhow::Error> {
    // Without the lock: it may have to wait for the processes of a killed server to leave.
    let mut child = match launch::spawn(server) {
        Ok(child) => child,
        Err(failure) => return ended(&mut shared.lock(), shared, supervise, failure),
    };
    let pid = Pid::from_child(&child);
    let mut state = shared.lock();
    (state.server, state.since) = (Some(pid), clock::unix_seconds());
    if state.wanted != Wanted::Up {
        // It was taken back while the server was being started, when there was nobody to send a signal to.
        let _ = rustix::process::kill_process(pid, server.kind().orphaned);
    }
    drop(state);
    if is_back {
        say_that_it_is_back(server, shared, pid);
    }
    while rustix::process::waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT)
        .is_err_and(|error| error == rustix::io::Errno::INTR)
    {}
    // Not reaped before the lock is held: until then the number is the server's, and a signal cannot hit another.
    let mut state = shared.lock();
    let status = child.wait();
    state.server = None;
    let end = anyhow!("{} ended ({})", server.kind().name, launch::words_of_end(status, server));
    ended(&mut state, shared, supervise, end)
}

/// As soon as it takes connections; whoever read of its end hears of that too. Nothing if it ends before, or is to end.
fn say_that_it_is_back(server: &dyn Server, shared: &Shared, pid: Pid) {
    let (start, kind) = (clock::monotonic(), server.kind());
    let lives = || {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
        rustix::process::waitid(WaitId::Pid(pid), options).is_ok_and(|ended| ended.is_none())
    };
    while start.elapsed() < kind.start && shared.lock().wanted == Wanted::Up && lives() {
        if server.is_ready(pid) {
            tracing::info!(pid = pid.as_raw_nonzero().get(), "{} is back", kind.name);
            return;
        }
        std::thread::sleep(POLL_BACK);
    }
}

/// What an end means, decided under the lock under which it became known: whoever sees it and wants the server up again
/// must not be told of this end as if it were the next one.
fn ended(state: &mut State, shared: &Shared, supervise: bool, end: anyhow::Error) -> Option<anyhow::Error> {
    shared.changed.notify_all();
    if state.wanted != Wanted::Up {
        return None;
    }
    if supervise && state.was_ready {
        return Some(end);
    }
    state.failure = Some(end);
    state.wanted = Wanted::Down;
    None
}
