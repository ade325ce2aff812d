//! The last place passed on of each conversation. Bounded: of what is forgotten the next event starts anew, which can
//! only miss a hole that a client finds again when it syncs.

use quick_cache::unsync::Cache;
use shared::domain::{ConversationId, Place};

/// Conversations remembered, 48 bytes each with the cache's own.
const PLACES_MAX: usize = 200_000;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    Next,
    /// Something before it is missing.
    Hole,
    /// Passed on before.
    Old,
}

pub struct Places {
    last: Cache<ConversationId, i64>,
}

impl Default for Places {
    fn default() -> Self {
        Self { last: Cache::new(PLACES_MAX) }
    }
}

impl Places {
    /// Judges the event at `place` and remembers it as passed on.
    pub fn pass(&mut self, conversation: ConversationId, place: Place) -> Verdict {
        let verdict = match self.last.get(&conversation) {
            Some(last) if place.0 <= *last => return Verdict::Old,
            Some(last) if place.0 > *last + 1 => Verdict::Hole,
            _ => Verdict::Next,
        };
        self.last.insert(conversation, place.0);
        verdict
    }

    /// A resync up to `place`: false when everything up to there was passed on.
    pub fn resync(&mut self, conversation: ConversationId, place: Place) -> bool {
        if self.last.get(&conversation).is_some_and(|last| *last >= place.0) {
            return false;
        }
        self.last.insert(conversation, place.0);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_passes_the_old_does_not_and_a_hole_is_seen_once() {
        let (mut places, id) = (Places::default(), ConversationId::new());
        let mut pass = |place| places.pass(id, Place(place));
        assert_eq!(pass(41), Verdict::Next, "nothing is known before the first");
        assert_eq!(pass(42), Verdict::Next);
        assert_eq!(pass(41), Verdict::Old);
        assert_eq!(pass(45), Verdict::Hole);
        assert_eq!(pass(46), Verdict::Next);
        assert_eq!(pass(44), Verdict::Old, "it was told to be read again");
    }

    #[test]
    fn a_resync_of_what_was_passed_on_is_not_told() {
        let (mut places, id) = (Places::default(), ConversationId::new());
        places.pass(id, Place(10));
        assert!(!places.resync(id, Place(10)));
        assert!(places.resync(id, Place(12)));
        assert_eq!(places.pass(id, Place(12)), Verdict::Old);
        assert_eq!(places.pass(id, Place(13)), Verdict::Next);
    }
}
