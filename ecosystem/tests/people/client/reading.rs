//! How a client stays whole: live events, `sync` after every hello and every word that something is missing, lists where
//! that is too far behind, and everything anew when the database was restored.

use super::{Asked, Client};
use crate::history::Seen;
use crate::people::holdings::{Holdings, Position, message};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::time::Duration;
use tokio::time::Instant;
use uuid::Uuid;

impl Client {
    pub(super) fn event(&mut self, frame: &Value) {
        let conversation = frame["conversation_id"].as_str().and_then(|id| id.parse::<Uuid>().ok());
        if conversation.is_some() {
            self.news = Instant::now();
        }
        match (frame["event"].as_str().unwrap_or_default(), conversation, Position::of(frame)) {
            ("resync", ..) => self.told(&frame["data"]["conversation_ids"]),
            ("heartbeat", ..) => self.frames.push(json!({ "cmd": "heartbeat" })),
            ("presence", ..) => self.presence(&frame["data"]),
            ("reconnect", ..) => {
                let after = Duration::from_millis(frame["data"]["after_ms"].as_u64().expect("a number"));
                self.come_back = Some(Instant::now() + after);
            }
            ("message.created", Some(conversation), Some(at)) => {
                let (_, message) = message(conversation, &frame["data"]["message"]).expect("a message");
                self.saw(Seen::Live { message: message.clone(), seq: at.seq, place: at.place() });
                self.holdings.event(conversation, at, Some((at.seq, message)));
            }
            (_, Some(conversation), Some(at)) => {
                self.saw(Seen::Change { conversation, place: at.place() });
                self.holdings.event(conversation, at, None);
            }
            // One's own: taken out of a conversation.
            ("conversation.deleted", ..) => {
                let id = frame["data"]["conversation_id"].as_str().and_then(|id| id.parse().ok());
                self.holdings.forget(id.expect("an id"));
            }
            _ => {}
        }
    }

    pub(super) fn saw(&self, seen: Seen) {
        self.crowd.recorder.saw(self.me, self.session, seen);
    }

    fn told(&mut self, conversations: &Value) {
        self.stale = true;
        match conversations.as_array() {
            None => self.saw(Seen::Told { conversation: None }),
            Some(ids) => {
                for id in ids {
                    let conversation = id.as_str().and_then(|id| id.parse().ok());
                    self.saw(Seen::Told { conversation });
                }
            }
        }
    }

    /// One question at a time.
    pub(super) fn catch_up(&mut self) {
        let reads = |asked: &Asked| matches!(asked, Asked::Sync { .. } | Asked::List { .. });
        if !self.stale || self.asked.values().any(reads) {
            return;
        }
        self.stale = false;
        let positions: HashMap<Uuid, Position> = self.holdings.positions().collect();
        let named = positions.iter().map(|(id, at)| (id.to_string(), json!({ "seq": at.seq, "rev": at.rev })));
        let named: serde_json::Map<String, Value> = named.collect();
        let data = json!({ "epoch": self.epoch, "urev": self.urev, "positions": named });
        self.saw(Seen::Asked);
        self.ask("sync", data, Asked::Sync { positions });
    }

    pub(super) fn synced(&mut self, asked: &HashMap<Uuid, Position>, page: &Value) {
        if page["reset"] == true {
            return self.reset(page);
        }
        let Some(entries) = page["conversations"].as_array() else {
            // Refused for now: PostgreSQL is away.
            self.stale = true;
            return;
        };
        self.urev = page["urev"].as_i64().expect("a number");
        let more = page["more"] == true;
        self.stale |= more;
        let mut silent = asked.clone();
        for entry in entries {
            let id: Uuid = entry["id"].as_str().and_then(|id| id.parse().ok()).expect("an id");
            silent.remove(&id);
            if entry["left"] == true {
                self.holdings.forget(id);
            } else if let Some(until) = Position::of(&entry["reset"]) {
                self.list(id, until);
            } else if let Some(at) = Position::of(entry) {
                let rows = entry["messages"].as_array().expect("a list").iter();
                self.holdings.rows(id, rows.filter_map(|row| message(id, row)));
                self.reached(id, at);
            }
        }
        if more {
            // It knows that it is not up to date yet.
            self.saw(Seen::Told { conversation: None });
        } else {
            // What has not moved is not named.
            silent.into_iter().for_each(|(id, at)| self.reached(id, at));
        }
    }

    /// The database was restored: whatever it holds is of another world.
    fn reset(&mut self, page: &Value) {
        assert_ne!(page["epoch"], self.epoch, "positions of this epoch are valid");
        self.epoch = page["epoch"].clone();
        self.urev = page["urev"].as_i64().expect("a number");
        self.holdings = Holdings::of(self.crowd.of(self.me).map(|conversation| conversation.id));
        self.saw(Seen::Reset);
        self.session += 1;
        self.crowd.recorder.goes_on(self.me, self.session);
        self.stale = true;
        self.watch_at = self.watches().then(Instant::now);
    }

    fn reached(&mut self, conversation: Uuid, at: Position) {
        self.holdings.reached(conversation, at);
        self.saw(Seen::Synced { conversation, place: at.place() });
    }

    /// Too far behind for `sync`: page by page.
    fn list(&mut self, conversation: Uuid, until: Position) {
        let data = json!({ "conversation_id": conversation, "after": self.holdings.seq(conversation), "limit": 100 });
        self.ask("message.list", data, Asked::List { conversation, until });
    }

    pub(super) fn listed(&mut self, conversation: Uuid, until: Position, page: &Value) {
        let Some(items) = page["items"].as_array() else {
            self.stale = true;
            return;
        };
        self.holdings.rows(conversation, items.iter().filter_map(|row| message(conversation, row)));
        match page["last_seq"].as_i64() {
            Some(seq) if seq < until.seq && !items.is_empty() => {
                self.holdings.reached(conversation, Position { seq, rev: 0 });
                self.list(conversation, until);
            }
            _ => self.reached(conversation, until),
        }
    }
}
