//! A run in which everything is right, with everything in it that is allowed: a resend, an unknown that is stored and one
//! that is not, a refusal, a gap that was told, a reconnect, a removal.

use crate::history::{Attempt, History, Message, Outcome, Removal, Row, Seen, Sight, Time, View};
use uuid::Uuid;

/// Who hold the whole conversation at the end.
pub const PEOPLE: usize = 3;
/// One more, who is taken out before the last message.
pub const REMOVED: usize = PEOPLE;
pub const MESSAGES: i64 = 12;
/// Messages whose first answer was lost with its connection.
const RESENT: i64 = 6;
/// Stored, and its sender never heard.
const UNKNOWN: i64 = 10;
/// The removal is a change after this message: from then on places are one above numbers.
const REMOVAL_AFTER: i64 = 11;
/// Client 2 misses this one and is told.
const MISSED: i64 = 5;

struct Run {
    history: History,
    conversation: Uuid,
    now: Time,
}

pub fn sound() -> History {
    let mut run = Run { history: History::default(), conversation: Uuid::from_u128(1), now: 0 };
    for seq in 1..=MESSAGES {
        run.say(seq);
        if seq == REMOVAL_AFTER {
            run.remove();
        }
    }
    let said = |n: u128, run: &Run| run.message(1000 + n, "to nobody");
    let (refused, unknown) = (said(0, &run), said(1, &run));
    run.attempt(0, refused, Outcome::Refused { code: "rate_limited".into() });
    run.attempt(1, unknown, Outcome::Unknown);
    run.history.heads.push((run.conversation, MESSAGES));
    for client in 0..PEOPLE {
        let rows = run.history.rows.clone();
        run.history.views.push(View { client, conversation: run.conversation, rows });
    }
    run.history
}

fn place(seq: i64) -> i64 {
    if seq > REMOVAL_AFTER { seq + 1 } else { seq }
}

impl Run {
    fn tick(&mut self) -> Time {
        self.now += 10;
        self.now
    }

    fn message(&self, id: u128, body: &str) -> Message {
        Message { conversation: self.conversation, id: Uuid::from_u128(id), body: body.to_owned() }
    }

    fn attempt(&mut self, client: usize, message: Message, outcome: Outcome) {
        let invoked = self.tick();
        let completed = (outcome != Outcome::Unknown).then(|| self.tick());
        self.history.attempts.push(Attempt { client, session: 1, message, invoked, completed, outcome });
    }

    fn see(&mut self, client: usize, session: u32, seen: Seen) {
        let at = self.tick();
        self.history.sights.push(Sight { client, session, at, seen });
    }

    fn say(&mut self, seq: i64) {
        let message = self.message(100 + seq as u128, &format!("message {seq}"));
        let client = seq as usize % PEOPLE;
        if seq == RESENT || seq == UNKNOWN {
            self.attempt(client, message.clone(), Outcome::Unknown);
        }
        if seq != UNKNOWN {
            self.attempt(client, message.clone(), Outcome::Ok { seq });
        }
        self.history.rows.push(Row { seq, message: message.clone() });
        self.deliver(seq, &message);
    }

    /// Client 1 is away in between and comes back with another session.
    fn deliver(&mut self, seq: i64, message: &Message) {
        let conversation = self.conversation;
        let live = || Seen::Live { message: message.clone(), seq, place: place(seq) };
        self.see(0, 1, live());
        match seq {
            1..=3 => self.see(1, 1, live()),
            8 => self.see(1, 2, Seen::Synced { conversation, place: 8 }),
            // What sync has told may also come live.
            _ if seq >= 8 => self.see(1, 2, live()),
            _ => {}
        }
        if seq == MISSED {
            self.see(2, 1, Seen::Told { conversation: Some(conversation) });
        } else {
            self.see(2, 1, live());
        }
        if seq <= REMOVAL_AFTER {
            self.see(REMOVED, 1, live());
        }
    }

    fn remove(&mut self) {
        let (conversation, place) = (self.conversation, REMOVAL_AFTER + 1);
        self.history.removals.push(Removal { client: REMOVED, conversation, place });
        for (client, session) in [(0, 1), (1, 2), (2, 1), (REMOVED, 1)] {
            self.see(client, session, Seen::Change { conversation, place });
        }
    }
}
