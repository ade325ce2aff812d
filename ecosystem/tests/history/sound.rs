//! A run in which everything is right, with everything in it that is allowed: a resend, an unknown that is stored and one
//! that is not, a refusal, a gap that was told, a reconnect, a removal, and a trouble in which presence is wrong for a while.

use crate::history::{
    Attempt, History, Message, Outcome, Presence, Removal, Row, Seen, Sight, Stay, Time, Trouble, View,
};
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
/// While this is said, something is broken.
const TROUBLED: i64 = 11;
/// About two messages.
pub const PATIENCE: Time = 120;
/// Everybody watches this one, who is away from after the third message until the eighth.
pub const WATCHED: usize = 1;

struct Run {
    history: History,
    conversation: Uuid,
    now: Time,
}

pub fn sound() -> History {
    let mut run = Run { history: History::default(), conversation: Uuid::from_u128(1), now: 0 };
    run.history.patience = PATIENCE;
    for client in 0..=REMOVED {
        run.come(client, 1);
    }
    run.tell(true);
    for seq in 1..=MESSAGES {
        if seq == TROUBLED {
            let from = run.tick();
            run.history.troubles.push(Trouble { from, until: Time::MAX, lossy: true });
            run.tell(false);
        }
        run.say(seq);
        if seq == TROUBLED {
            run.history.troubles[0].until = run.tick();
            run.tell(true);
        }
        if seq == REMOVAL_AFTER {
            run.remove();
        }
    }
    let said = |n: u128, run: &Run| run.message(1000 + n, "to nobody");
    let (refused, unknown) = (said(0, &run), said(1, &run));
    run.attempt(0, refused, Outcome::Refused { code: "rate_limited".into() });
    run.attempt(1, unknown, Outcome::Unknown);
    run.history.heads.push((run.conversation, MESSAGES));
    for _ in 0..PATIENCE / 5 {
        run.tick();
    }
    for client in 0..=REMOVED {
        run.leave(client);
    }
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

    fn come(&mut self, client: usize, session: u32) {
        let from = self.tick();
        self.history.stays.push(Stay { client, session, from, until: None });
    }

    fn leave(&mut self, client: usize) {
        let now = self.tick();
        let stay = self.history.stays.iter_mut().rev().find(|stay| stay.client == client).unwrap();
        stay.until = Some(now);
    }

    /// Everybody else hears of the one who is watched.
    fn tell(&mut self, online: bool) {
        for watcher in (0..PEOPLE).filter(|watcher| *watcher != WATCHED) {
            let at = self.tick();
            self.history.presence.push(Presence { watcher, session: 1, person: WATCHED, online, at });
        }
    }

    /// Client 1 is away in between and comes back with another session.
    fn deliver(&mut self, seq: i64, message: &Message) {
        match seq {
            4 => {
                self.leave(WATCHED);
                self.tell(false);
            }
            8 => {
                self.come(WATCHED, 2);
                self.tell(true);
            }
            _ => {}
        }
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
