//! What a client holds: rows by number and the position it has got to, from live events and from `sync`, merged by place.

use crate::history::{Message, Row};
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use uuid::Uuid;

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Position {
    pub seq: i64,
    pub rev: i64,
}

impl Position {
    pub fn place(self) -> i64 {
        self.seq + self.rev
    }

    pub fn of(value: &Value) -> Option<Self> {
        Some(Self { seq: value["seq"].as_i64()?, rev: value["rev"].as_i64()? })
    }
}

#[derive(Default)]
struct Held {
    at: Position,
    rows: BTreeMap<i64, Message>,
    /// Events that came before the ones in front of them did.
    ahead: BTreeMap<i64, Position>,
}

#[derive(Default)]
pub struct Holdings {
    conversations: HashMap<Uuid, Held>,
}

pub fn message(conversation: Uuid, value: &Value) -> Option<(i64, Message)> {
    let body = value["body"].as_str()?.to_owned();
    Some((value["seq"].as_i64()?, Message { conversation, id: value["id"].as_str()?.parse().ok()?, body }))
}

impl Holdings {
    pub fn of(conversations: impl Iterator<Item = Uuid>) -> Self {
        Self { conversations: conversations.map(|id| (id, Held::default())).collect() }
    }

    pub fn positions(&self) -> impl Iterator<Item = (Uuid, Position)> {
        self.conversations.iter().map(|(id, held)| (*id, held.at))
    }

    pub fn forget(&mut self, conversation: Uuid) {
        self.conversations.remove(&conversation);
    }

    /// A live event. What it says is kept; the position moves only over what lies in front of it.
    pub fn event(&mut self, conversation: Uuid, at: Position, row: Option<(i64, Message)>) {
        let Some(held) = self.conversations.get_mut(&conversation) else { return };
        held.rows.extend(row);
        if at.place() > held.at.place() {
            held.ahead.insert(at.place(), at);
            held.absorb();
        }
    }

    /// State read from the server.
    pub fn rows(&mut self, conversation: Uuid, rows: impl Iterator<Item = (i64, Message)>) {
        if let Some(held) = self.conversations.get_mut(&conversation) {
            held.rows.extend(rows);
        }
    }

    /// Everything up to here is held now.
    pub fn reached(&mut self, conversation: Uuid, at: Position) {
        if let Some(held) = self.conversations.get_mut(&conversation) {
            if at.place() > held.at.place() {
                held.at = at;
            }
            held.absorb();
        }
    }

    pub fn seq(&self, conversation: Uuid) -> i64 {
        self.conversations.get(&conversation).map_or(0, |held| held.at.seq)
    }

    pub fn view(&self, conversation: Uuid) -> Option<Vec<Row>> {
        let held = self.conversations.get(&conversation)?;
        Some(held.rows.iter().map(|(seq, message)| Row { seq: *seq, message: message.clone() }).collect())
    }
}

impl Held {
    fn absorb(&mut self) {
        while let Some(entry) = self.ahead.first_entry() {
            match *entry.key() - self.at.place() {
                ..=0 => drop(entry.remove()),
                1 => self.at = entry.remove(),
                _ => return,
            }
        }
    }
}
