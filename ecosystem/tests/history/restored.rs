//! A history across a restore of the database: what was answered after the backup is gone, and that is all that may be.

use super::record::{History, Outcome, Seen, Time};
use std::collections::HashMap;

/// When the database was restored, and to what.
#[derive(Clone, Copy, Debug)]
pub struct Restore {
    /// Whatever was answered before is in the backup.
    pub backup: Time,
    /// From here on nobody reached the old database any more.
    pub begun: Time,
    /// The restored one took commands from here on.
    pub done: Time,
}

/// The same history as seen from the restored database. An answer given between backup and restore means nothing any
/// more: the message may be there, for it may have been sent again, or not. What a session saw from the backup on until
/// it was reset is of a world that is gone.
pub fn of_the_restored(history: &History, restore: Restore) -> History {
    let mut restored = history.clone();
    for attempt in &mut restored.attempts {
        let undone = attempt.completed.is_some_and(|at| (restore.backup..restore.done).contains(&at));
        if undone {
            (attempt.outcome, attempt.completed) = (Outcome::Unknown, None);
        }
    }
    // The first moment of each client at which it had nothing of the old world.
    let mut anew: HashMap<usize, Time> = HashMap::new();
    for sight in &history.sights {
        if sight.seen == Seen::Reset && sight.at > restore.begun {
            anew.entry(sight.client).or_insert(sight.at);
        }
    }
    let gone = restore.backup..;
    restored
        .sights
        .retain(|sight| !gone.contains(&sight.at) || anew.get(&sight.client).is_some_and(|anew| sight.at >= *anew));
    restored
}
