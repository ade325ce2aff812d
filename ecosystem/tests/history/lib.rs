//! What a run leaves behind, and whether the promises held: recorded by many clients while servers are killed, judged
//! afterwards by pure functions that are themselves tested with seeded corruptions (`tests/history.rs`).
#![allow(dead_code, unused_imports, reason = "each test binary uses its part")]

mod live;
mod presence;
mod record;
mod report;
mod restored;
mod table;

pub use record::{
    Attempt, History, Message, Outcome, Presence, Recorder, Removal, Row, Seen, Sight, Stay, Time, Trouble, View,
};
pub use report::Report;
pub use restored::{Restore, of_the_restored};

use std::fmt;
use uuid::Uuid;

/// A broken promise. The letters are those of the invariants: durable, no phantom, once, order, real time, access, and presence.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Kind {
    /// D: answered, and not in the table.
    Lost,
    /// D: answered with another place than the table's, or with different ones.
    WrongAnswer,
    /// P: in the table or received, and never sent.
    Phantom,
    /// P: refused for good, and stored all the same.
    RefusedButStored,
    /// P: received, and not in the table.
    NeverStored,
    /// P: stored or received with another body than was sent.
    ChangedBody,
    /// X: in the table more than once.
    Doubled,
    /// X: delivered to one session more than once.
    Repeated,
    /// O: the numbers in the table are not 1, 2, 3 …
    Hole,
    /// O: a client saw another message at a place than the table has.
    Swapped,
    /// O: a session was sent a place before an earlier one.
    Reordered,
    /// O: a session missed a place and was not told.
    Untold,
    /// O: one session's sends are stored in another order than they were sent.
    SendOrder,
    /// O: after everything has settled a client holds something else than the table.
    View,
    /// R: answered before the other was sent, and placed after it.
    RealTime,
    /// K: delivered to who had been removed before.
    AfterRemoval,
    /// S: shown as online although gone.
    Ghost,
    /// S: shown as offline, or not at all, although there.
    Unseen,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Violation {
    pub kind: Kind,
    pub conversation: Uuid,
    pub what: String,
}

impl Violation {
    fn new(kind: Kind, conversation: Uuid, what: impl Into<String>) -> Self {
        Self { kind, conversation, what: what.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} in {}: {}", self.kind, self.conversation, self.what)
    }
}

/// Everything that is wrong with it.
pub fn check(history: &History) -> Vec<Violation> {
    let mut violations = table::check(history);
    violations.extend(live::check(history));
    violations.extend(presence::check(history));
    violations
}
