//! One place in the cluster, and the process that has it at the moment: what it says of itself, how it ends, when it is
//! started again.

use super::{Role, blueprint::Blueprint, console::Voice, processes::Entry, processes::State};
use anyhow::Result;
use rustix::process::{Pid, Signal, kill_process};
use shared::clock;
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Child;
use tokio::sync::mpsc;

/// Between two lives: doubled each time, and forgotten after a life of `STEADY`.
const PAUSE_SHORTEST: Duration = Duration::from_millis(50);
const PAUSE_LONGEST: Duration = Duration::from_secs(5);
const STEADY: Duration = Duration::from_secs(60);
/// For the last words of a process that has ended.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// What becomes of it when it ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Duty {
    /// It is started again.
    Serve,
    /// New in a reload, which fails with it.
    Trial,
    /// It was told to end, and is killed then.
    Leave { at: Instant },
}

pub struct Member {
    pub role: Role,
    /// No other living one has the same: decides the probe's port.
    pub slot: u16,
    pub duty: Duty,
    /// `None`: dead, and the next life is about to begin.
    pub life: Option<Life>,
    pub state: State,
    why: Option<String>,
    probe: Option<String>,
    restarts: u32,
    pause: Duration,
    last_end: Option<String>,
}

/// A process, for as long as it lives.
pub struct Life {
    number: u64,
    pid: Option<u32>,
    since: u64,
    born: Instant,
    /// Has been ready before.
    served: bool,
    orders: mpsc::UnboundedSender<Signal>,
}

/// What is heard of a life, in order; the end is the last.
pub struct Event {
    pub name: String,
    pub life: u64,
    pub word: Word,
}

pub enum Word {
    Probe(String),
    Ready,
    NotReady(String),
    Ended(End),
    /// The pause after an end is over.
    Again,
}

pub struct End {
    /// `exit status: 1`, `signal: 9 (SIGKILL)`.
    pub status: String,
    pub code: Option<i32>,
    /// The last line of its log.
    pub words: Option<String>,
}

impl End {
    pub fn words(&self) -> String {
        self.with_last_line(&self.status)
    }

    fn words_at(&self, time: &str) -> String {
        self.with_last_line(&format!("{} at {time}", self.status))
    }

    /// What a process said last may be a reason only where it ended by itself: a signal came from outside.
    fn with_last_line(&self, end: &str) -> String {
        match (self.code, &self.words) {
            (Some(_), Some(words)) => format!("{end}: last line: {words}"),
            _ => end.to_owned(),
        }
    }
}

impl Member {
    pub fn new(role: Role, slot: u16, duty: Duty) -> Self {
        Self {
            role,
            slot,
            duty,
            life: None,
            state: State::Starting,
            why: None,
            probe: None,
            restarts: 0,
            pause: PAUSE_SHORTEST,
            last_end: None,
        }
    }

    /// Begins a life. Its events carry this number.
    pub fn start(
        &mut self,
        name: &str,
        number: u64,
        blueprint: &Blueprint,
        voice: Voice,
        events: &mpsc::Sender<Event>,
    ) -> Result<()> {
        let child = blueprint.spawn(self.role, name, self.slot)?;
        let (orders, taken) = mpsc::unbounded_channel();
        self.life = Some(Life {
            number,
            pid: child.id(),
            since: clock::unix_seconds(),
            born: clock::monotonic(),
            served: false,
            orders,
        });
        (self.state, self.why, self.probe) = (State::Starting, None, None);
        tokio::spawn(live(
            child,
            taken,
            voice,
            Speaker { name: name.to_owned(), life: number, events: events.clone() },
        ));
        Ok(())
    }

    pub fn is_living(&self, life: u64) -> bool {
        self.life.as_ref().is_some_and(|living| living.number == life)
    }

    pub fn hear_probe(&mut self, address: String) {
        self.probe = Some(address);
    }

    pub fn hear(&mut self, state: State, why: Option<String>) {
        if self.state != State::Draining {
            (self.state, self.why) = (state, why);
        }
    }

    /// It serves. True: for the first time in this life.
    pub fn is_ready_first(&mut self) -> bool {
        self.hear(State::Ready, None);
        self.life.as_mut().is_some_and(|life| !std::mem::replace(&mut life.served, true))
    }

    /// Its process has ended unasked. How long until the next one.
    pub fn ended(&mut self, end: &End) -> Duration {
        let lived = self.life.take().map_or(Duration::ZERO, |life| life.born.elapsed());
        (self.state, self.why, self.probe) = (State::Dead, None, None);
        // For `status`: a log line has its own time.
        self.last_end = Some(end.words_at(&clock::text(clock::now())));
        self.restarts += 1;
        let pause = if lived >= STEADY { PAUSE_SHORTEST } else { self.pause };
        self.pause = (pause * 2).min(PAUSE_LONGEST);
        pause
    }

    /// Asks it to leave in order, until `at`. Once: a second signal would end it at once.
    pub fn leave(&mut self, at: Instant) {
        if matches!(self.duty, Duty::Leave { .. }) {
            return;
        }
        self.duty = Duty::Leave { at };
        (self.state, self.why) = (State::Draining, None);
        self.signal(Signal::TERM);
    }

    pub fn signal(&self, signal: Signal) {
        if let Some(life) = &self.life {
            // Nobody takes it: it has ended, and the news is on its way.
            let _ = life.orders.send(signal);
        }
    }

    pub fn is_ready(&self) -> bool {
        self.state == State::Ready
    }

    /// Why not, in words.
    pub fn state_in_words(&self) -> String {
        self.why.clone().unwrap_or_else(|| self.state.words().to_owned())
    }

    pub fn entry(&self, name: &str) -> Entry {
        Entry {
            name: name.to_owned(),
            role: self.role,
            state: self.state,
            why: self.why.clone(),
            pid: self.life.as_ref().and_then(|life| life.pid),
            since: self.life.as_ref().map_or(0, |life| life.since),
            restarts: self.restarts,
            last_end: self.last_end.clone(),
            probe: self.probe.clone(),
        }
    }
}

/// Where a life's news go.
struct Speaker {
    name: String,
    life: u64,
    events: mpsc::Sender<Event>,
}

impl Speaker {
    async fn say(&self, word: Word) {
        // Nobody listens: the launcher ends.
        drop(self.events.send(Event { name: self.name.clone(), life: self.life, word }).await);
    }
}

/// One life, from start to reaping. It owns the child, so that a signal can never reach another process of that number.
async fn live(mut child: Child, mut orders: mpsc::UnboundedReceiver<Signal>, voice: Voice, speaker: Speaker) {
    let stderr = child.stderr.take().expect("cannot fail because it was piped");
    let complaints = tokio::spawn(voice.pass_on(stderr));
    let mut stdout = BufReader::new(child.stdout.take().expect("cannot fail because it was piped")).lines();
    let mut talks = true;
    let status = loop {
        tokio::select! {
            status = child.wait() => break status,
            Some(signal) = orders.recv() => {
                if let Some(pid) = child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw) {
                    let _ = kill_process(pid, signal);
                }
            }
            line = stdout.next_line(), if talks => match line {
                Ok(Some(line)) => if let Some(word) = word(&line) { speaker.say(word).await },
                Ok(None) | Err(_) => talks = false,
            },
        }
    };
    let words = tokio::time::timeout(LAST_WORDS, complaints).await.ok().and_then(Result::ok).flatten();
    let code = status.as_ref().ok().and_then(std::process::ExitStatus::code);
    let status = status.map_or_else(|error| error.to_string(), |status| status.to_string());
    speaker.say(Word::Ended(End { status, code, words })).await;
}

/// What a process says to its launcher on standard output (`process`, `readiness`).
fn word(line: &str) -> Option<Word> {
    let (first, rest) = line.split_once(' ').unwrap_or((line, ""));
    match (first, rest.strip_prefix("ready: ")) {
        ("probe", _) => Some(Word::Probe(rest.to_owned())),
        ("ready", _) => Some(Word::Ready),
        ("not", Some(why)) => Some(Word::NotReady(why.to_owned())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_bound() {
        let mut member = Member::new(Role::Gateway, 0, Duty::Serve);
        let end = End { status: "signal: 9 (SIGKILL)".into(), code: None, words: None };
        let pauses: Vec<u128> = (0..9).map(|_| member.ended(&end).as_millis()).collect();
        assert_eq!(pauses, [50, 100, 200, 400, 800, 1600, 3200, 5000, 5000]);
        let entry = member.entry("gateway-1");
        assert_eq!((entry.restarts, entry.state), (9, State::Dead));
        let last_end = entry.last_end.unwrap();
        assert!(last_end.starts_with("signal: 9 (SIGKILL) at 20") && last_end.ends_with('Z'), "{last_end}");
    }

    #[test]
    fn a_signal_is_no_reason_to_blame_the_last_line_of_the_log() {
        let end = |status: &str, code| End { status: status.into(), code, words: Some("a gateway has died".into()) };
        assert_eq!(end("signal: 9 (SIGKILL)", None).words(), "signal: 9 (SIGKILL)");
        let ended = end("exit status: 1", Some(1));
        assert_eq!(ended.words(), "exit status: 1: last line: a gateway has died");
        assert_eq!(ended.words_at("noon"), "exit status: 1 at noon: last line: a gateway has died");
    }

    #[test]
    fn words_of_a_process() {
        assert!(
            matches!(word("probe http://127.0.0.1:9"), Some(Word::Probe(address)) if address == "http://127.0.0.1:9")
        );
        assert!(matches!(word("ready"), Some(Word::Ready)));
        assert!(matches!(word("not ready: Redis is away"), Some(Word::NotReady(why)) if why == "Redis is away"));
        assert!(word("hello").is_none() && word("").is_none());
    }
}
