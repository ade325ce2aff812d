//! The thread that has the server as its child: it starts it, reaps it, and starts it again when it died unasked.
//!
//! One thread for the server's whole life, because the kernel ties a child's death signal to the *thread* that made it
//! (`launch`): a pool's thread would end some day and take the database along. The thread sleeps in `waitid`; everybody
//! else says what is wanted through the state and, where the server has to end for it, a signal.

use super::launch::Launch;
use anyhow::{Context, Result, anyhow, bail};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};
use shared::clock;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// A crash recovery reads up to `max_wal_size` of log; killing it half-way would only start it from the beginning.
const READY: Duration = Duration::from_secs(600);
const STOP: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(5);
/// Between two deaths: doubled each time, and forgotten after a life of `STEADY`.
const PAUSE_SHORTEST: Duration = Duration::from_millis(50);
const PAUSE_LONGEST: Duration = Duration::from_secs(5);
const STEADY: Duration = Duration::from_secs(60);

pub struct Keeper {
    launch: Launch,
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
    pub fn start(launch: Launch, supervise: bool) -> Result<Self> {
        let state = State { wanted: Wanted::Up, server: None, was_ready: false, failure: None };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() });
        let (for_thread, launch_there) = (Arc::clone(&shared), launch.clone());
        let thread = std::thread::Builder::new()
            .name("postgres".to_owned())
            .spawn(move || keep(&launch_there, &for_thread, supervise))
            .context("cannot start a thread")?;
        let keeper = Self { launch, shared, thread: Some(thread) };
        keeper.wait_ready()?;
        Ok(keeper)
    }

    pub fn pid(&self) -> Option<u32> {
        self.shared.lock().server.map(|pid| pid.as_raw_nonzero().get().unsigned_abs())
    }

    /// Until the server takes connections.
    pub fn wait_ready(&self) -> Result<()> {
        let start = clock::monotonic();
        while start.elapsed() < READY {
            let server = {
                let mut state = self.shared.lock();
                if let Some(failure) = state.failure.take() {
                    return Err(failure);
                }
                state.server
            };
            if server.is_some_and(|pid| self.launch.is_ready(pid)) {
                self.shared.lock().was_ready = true;
                return Ok(());
            }
            std::thread::sleep(POLL);
        }
        bail!("PostgreSQL is not ready after {} s; see {}", READY.as_secs(), self.launch.place.server_log().display())
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

    /// A fast shutdown: sessions are ended, a checkpoint is written. Who does not finish in time is ended the hard way,
    /// which costs the next start a recovery and nothing else.
    pub fn down(&self) {
        self.take_down(Wanted::Down);
    }

    fn take_down(&self, wanted: Wanted) {
        self.want(wanted);
        let start = clock::monotonic();
        let mut state = self.shared.lock();
        let mut signal = Some(Signal::INT);
        while let Some(pid) = state.server {
            if let Some(signal) = signal.take() {
                let _ = rustix::process::kill_process(pid, signal);
            }
            let (next, timeout) = self.shared.wait_for(state, STOP);
            state = next;
            if timeout && state.server.is_some() {
                signal = Some(if start.elapsed() < 2 * STOP { Signal::QUIT } else { Signal::KILL });
            }
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

    /// With whether the time ran out.
    fn wait_for<'a>(&self, state: MutexGuard<'a, State>, limit: Duration) -> (MutexGuard<'a, State>, bool) {
        let (state, timeout) = self.changed.wait_timeout(state, limit).unwrap_or_else(PoisonError::into_inner);
        (state, timeout.timed_out())
    }
}

fn keep(launch: &Launch, shared: &Shared, supervise: bool) {
    let mut pause = PAUSE_SHORTEST;
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
        let Some(end) = live(launch, shared, supervise) else { continue };
        let state = shared.lock();
        tracing::error!(error = format!("{end:#}"), "PostgreSQL ended unasked; it is started again");
        pause = if born.elapsed() > STEADY { PAUSE_SHORTEST } else { pause };
        drop(shared.wait_for(state, pause));
        pause = (pause * 2).min(PAUSE_LONGEST);
    }
}

/// One life of the server, from its start to its reaping. Returns why it ended if it is to be started again.
fn live(launch: &Launch, shared: &Shared, supervise: bool) -> Option<anyhow::Error> {
    // Without the lock: it may have to wait for the processes of a killed server to leave.
    let mut server = match launch.spawn() {
        Ok(server) => server,
        Err(failure) => return ended(&mut shared.lock(), shared, supervise, failure),
    };
    let pid = Pid::from_child(&server);
    let mut state = shared.lock();
    state.server = Some(pid);
    if state.wanted != Wanted::Up {
        // It was taken back while the server was being started, when there was nobody to send a signal to.
        let _ = rustix::process::kill_process(pid, Signal::INT);
    }
    drop(state);
    while rustix::process::waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT)
        .is_err_and(|error| error == rustix::io::Errno::INTR)
    {}
    // Not reaped before the lock is held: until then the number is the server's, and a signal cannot hit another.
    let mut state = shared.lock();
    let status = server.wait();
    state.server = None;
    let status = status.map_or_else(|error| error.to_string(), |status| status.to_string());
    let end = anyhow!("PostgreSQL ended ({status}): {}", last_words(launch));
    ended(&mut state, shared, supervise, end)
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

fn last_words(launch: &Launch) -> String {
    let log = launch.place.server_log();
    let text = std::fs::read(&log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let cause = text.lines().rev().take(20).find(|line| line.contains("FATAL") || line.contains("ERROR"));
    cause.or(text.lines().last()).unwrap_or("it left no word in its log").to_owned()
}
