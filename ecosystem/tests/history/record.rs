//! The recorder, and what it records. All clients are in one process, so there is one clock.

use super::presence::Now;
use shared::clock;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use uuid::Uuid;

/// Nanoseconds since the recorder began.
pub type Time = u64;

/// What is said, wherever it is seen.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Message {
    pub conversation: Uuid,
    pub id: Uuid,
    pub body: String,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// Stored, says the server, as this number.
    Ok { seq: i64 },
    /// Not done and never will be, says the server.
    Refused { code: String },
    /// `timeout`, or the connection ended before an answer: either is possible.
    Unknown,
}

/// One try to send. The same id again is the same message.
#[derive(Clone, Debug)]
pub struct Attempt {
    pub client: usize,
    /// Counts the client's connections.
    pub session: u32,
    pub message: Message,
    pub invoked: Time,
    pub completed: Option<Time>,
    pub outcome: Outcome,
}

/// What a client is sent, in the order it came.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Seen {
    /// An event with a message in it, at `place` (`seq + rev`).
    Live { message: Message, seq: i64, place: i64 },
    /// Any other event with a place.
    Change { conversation: Uuid, place: i64 },
    /// `resync`, of one conversation or of everything; or that an answer to `sync` was not all of it.
    Told { conversation: Option<Uuid> },
    /// The client asks for `sync`: what it is told from now on, the answer may not contain.
    Asked,
    /// The answer: this client now knows the conversation up to `place`.
    Synced { conversation: Uuid, place: i64 },
    /// Nothing has come for a while, and nobody says anything any more: from here on the client reads what it may have missed.
    Quiet,
    /// Its positions are of another epoch: it forgets everything. What follows is of its next session.
    Reset,
}

#[derive(Clone, Debug)]
pub struct Sight {
    pub client: usize,
    pub session: u32,
    pub at: Time,
    pub seen: Seen,
}

/// A client was taken out of a conversation by a change at this place.
#[derive(Clone, Debug)]
pub struct Removal {
    pub client: usize,
    pub conversation: Uuid,
    pub place: i64,
}

/// One connection, from the answer to its hello until it ended.
#[derive(Clone, Debug)]
pub struct Stay {
    pub client: usize,
    pub session: u32,
    pub from: Time,
    pub until: Option<Time>,
}

/// A watcher was told of somebody, in an answer or by an event.
#[derive(Clone, Debug)]
pub struct Presence {
    pub watcher: usize,
    pub session: u32,
    pub person: usize,
    pub online: bool,
    pub at: Time,
}

/// Something was broken, and presence with it.
#[derive(Clone, Copy, Debug)]
pub struct Trouble {
    pub from: Time,
    pub until: Time,
    /// Commands on their way may have been lost, so that gateways sent them again: of these no order is promised.
    pub lossy: bool,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Row {
    pub seq: i64,
    pub message: Message,
}

/// What a client holds of a conversation after everything has settled.
#[derive(Clone, Debug)]
pub struct View {
    pub client: usize,
    pub conversation: Uuid,
    pub rows: Vec<Row>,
}

#[derive(Clone, Debug, Default)]
pub struct History {
    pub attempts: Vec<Attempt>,
    pub sights: Vec<Sight>,
    pub removals: Vec<Removal>,
    /// The table at the end, and the numbers each conversation has got to.
    pub rows: Vec<Row>,
    pub heads: Vec<(Uuid, i64)>,
    pub views: Vec<View>,
    pub stays: Vec<Stay>,
    pub presence: Vec<Presence>,
    pub troubles: Vec<Trouble>,
    /// How long presence may take to be true.
    pub patience: Time,
}

pub struct Recorder {
    start: Instant,
    history: Mutex<History>,
    /// By itself, so that a look at it stops nobody for long.
    now: Mutex<Now>,
}

impl Recorder {
    pub fn new() -> Self {
        Self { start: clock::monotonic(), history: Mutex::default(), now: Mutex::default() }
    }

    pub fn now(&self) -> Time {
        self.start.elapsed().as_nanos() as Time
    }

    /// Before it is written to the socket. The outcome is unknown until [`answered`](Self::answered).
    pub fn sending(&self, client: usize, session: u32, message: Message) -> usize {
        let invoked = self.now();
        self.with(|history| {
            let outcome = Outcome::Unknown;
            history.attempts.push(Attempt { client, session, message, invoked, completed: None, outcome });
            history.attempts.len() - 1
        })
    }

    /// As soon as the answer has been read.
    pub fn answered(&self, attempt: usize, outcome: Outcome) {
        let now = self.now();
        self.with(|history| {
            history.attempts[attempt].completed = Some(now);
            history.attempts[attempt].outcome = outcome;
        });
    }

    pub fn saw(&self, client: usize, session: u32, seen: Seen) {
        let at = self.now();
        self.with(|history| history.sights.push(Sight { client, session, at, seen }));
    }

    /// Said hello and was answered.
    pub fn came(&self, client: usize, session: u32) {
        let from = self.now();
        self.with(|history| history.stays.push(Stay { client, session, from, until: None }));
        self.presence().came(client, session);
    }

    pub fn left(&self, client: usize) {
        let now = self.now();
        self.with(|history| {
            let stay = history.stays.iter_mut().rev().find(|stay| stay.client == client);
            stay.into_iter().for_each(|stay| stay.until = stay.until.or(Some(now)));
        });
        self.presence().left(client);
    }

    /// The same connection goes on as another session.
    pub fn goes_on(&self, client: usize, session: u32) {
        self.left(client);
        self.came(client, session);
        self.presence().resets += 1;
    }

    pub fn told(&self, watcher: usize, session: u32, person: usize, online: bool) {
        let at = self.now();
        self.with(|history| history.presence.push(Presence { watcher, session, person, online, at }));
        self.presence().told(watcher, session, person, online);
    }

    /// Who is here and what is said of it, as things stand.
    pub fn presence(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn with<T>(&self, work: impl FnOnce(&mut History) -> T) -> T {
        work(&mut self.history.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What has been recorded so far.
    pub fn history(&self) -> History {
        self.with(|history| history.clone())
    }
}
