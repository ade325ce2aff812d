//! What sessions were sent while it happened, against the table and against the promise "live or told": P, X, O, K.

use super::record::{History, Message, Row, Seen, Sight};
use super::{Kind, Violation};
use std::collections::{HashMap, HashSet};
use uuid::Uuid;

pub fn check(history: &History) -> Vec<Violation> {
    let mut wrong = vec![];
    events_are_rows(history, &mut wrong);
    nothing_after_removal(history, &mut wrong);
    let mut sessions: HashMap<(usize, u32), Session> = HashMap::new();
    for sight in &history.sights {
        sessions.entry((sight.client, sight.session)).or_default().see(sight, &mut wrong);
    }
    wrong
}

/// P and O: whatever was delivered is in the table, at that number, with that body.
fn events_are_rows(history: &History, wrong: &mut Vec<Violation>) {
    let sent: HashSet<Uuid> = history.attempts.iter().map(|attempt| attempt.message.id).collect();
    let by_id: HashMap<Uuid, &Row> = history.rows.iter().map(|row| (row.message.id, row)).collect();
    let by_place: HashMap<(Uuid, i64), &Message> =
        history.rows.iter().map(|row| ((row.message.conversation, row.seq), &row.message)).collect();
    for sight in &history.sights {
        let Seen::Live { message, seq, .. } = &sight.seen else { continue };
        let mut found = |kind| {
            let what = format!("client {} received {} at {seq}", sight.client, message.id);
            wrong.push(Violation::new(kind, message.conversation, what));
        };
        match (by_id.get(&message.id), by_place.get(&(message.conversation, *seq))) {
            _ if !sent.contains(&message.id) => found(Kind::Phantom),
            (None, None) => found(Kind::NeverStored),
            (None, Some(_)) => found(Kind::Swapped),
            (Some(row), _) if row.seq != *seq || row.message.conversation != message.conversation => {
                found(Kind::Swapped)
            }
            (Some(row), _) if row.message.body != message.body => found(Kind::ChangedBody),
            (Some(_), _) => {}
        }
    }
}

/// K: nothing that is placed after the removal.
fn nothing_after_removal(history: &History, wrong: &mut Vec<Violation>) {
    for removal in &history.removals {
        for sight in history.sights.iter().filter(|sight| sight.client == removal.client) {
            let place = match &sight.seen {
                Seen::Live { message, place, .. } if message.conversation == removal.conversation => *place,
                Seen::Change { conversation, place } if *conversation == removal.conversation => *place,
                _ => continue,
            };
            // The removal itself is shown to who is removed.
            if place > removal.place {
                let what = format!("client {}: place {place}, removed at {}", removal.client, removal.place);
                wrong.push(Violation::new(Kind::AfterRemoval, removal.conversation, what));
            }
        }
    }
}

/// One connection's state, as the promise sees it.
#[derive(Default)]
struct Session {
    conversations: HashMap<Uuid, Known>,
    /// `resync` of everything counts for conversations that were not heard of yet, too.
    everything: Told,
    /// Nothing new is to come.
    quiet: bool,
}

/// Whether a gap is excused: from the word until the answer to a `sync` that was asked for after it.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
enum Told {
    #[default]
    No,
    Yes,
    AndAsked,
}

#[derive(Default)]
struct Known {
    last_live: Option<i64>,
    /// The furthest place it has, live or by `sync`.
    reached: Option<i64>,
    told: Told,
    delivered: HashSet<Uuid>,
}

impl Session {
    fn see(&mut self, sight: &Sight, wrong: &mut Vec<Violation>) {
        match &sight.seen {
            Seen::Told { conversation: None } => {
                self.everything = Told::Yes;
                self.conversations.values_mut().for_each(|known| known.told = Told::Yes);
            }
            Seen::Told { conversation: Some(conversation) } => self.known(*conversation).told = Told::Yes,
            Seen::Asked => {
                let told = self.conversations.values_mut().map(|known| &mut known.told).chain([&mut self.everything]);
                told.filter(|told| **told == Told::Yes).for_each(|told| *told = Told::AndAsked);
            }
            Seen::Quiet => self.quiet = true,
            Seen::Synced { conversation, place } => {
                let quiet = self.quiet;
                let known = self.known(*conversation);
                if let (true, Told::No, Some(reached)) = (quiet, known.told, known.reached)
                    && *place > reached
                {
                    let (client, session) = (sight.client, sight.session);
                    let what =
                        format!("client {client}, session {session}: at {reached} when all was quiet, not {place}");
                    wrong.push(Violation::new(Kind::Untold, *conversation, what));
                }
                if known.told == Told::AndAsked {
                    known.told = Told::No;
                }
                known.reached = known.reached.max(Some(*place));
            }
            Seen::Live { message, place, .. } => {
                let known = self.known(message.conversation);
                if !known.delivered.insert(message.id) {
                    let what = format!("client {}, session {}: {} again", sight.client, sight.session, message.id);
                    wrong.push(Violation::new(Kind::Repeated, message.conversation, what));
                    return;
                }
                known.event(message.conversation, *place, sight, wrong);
            }
            Seen::Change { conversation, place } => {
                self.known(*conversation).event(*conversation, *place, sight, wrong)
            }
            Seen::Reset => *self = Self::default(),
        }
    }

    fn known(&mut self, conversation: Uuid) -> &mut Known {
        let told = self.everything;
        self.conversations.entry(conversation).or_insert_with(|| Known { told, ..Known::default() })
    }
}

impl Known {
    fn event(&mut self, conversation: Uuid, place: i64, sight: &Sight, wrong: &mut Vec<Violation>) {
        let mut found = |kind, before: i64| {
            let what = format!("client {}, session {}: place {place} after {before}", sight.client, sight.session);
            wrong.push(Violation::new(kind, conversation, what));
        };
        match (self.last_live, self.reached) {
            (Some(last), _) if place <= last => found(Kind::Reordered, last),
            (_, Some(reached)) if place > reached + 1 && self.told == Told::No => found(Kind::Untold, reached),
            _ => {}
        }
        self.last_live = self.last_live.max(Some(place));
        self.reached = self.reached.max(Some(place));
    }
}
