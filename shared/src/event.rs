//! Events: what has happened, on its way to the people who may see it, and the entries of a gateway's inbox.
//! The client-visible JSON in them is made once, by the worker, and holds nothing that differs per viewer.

use crate::{
    domain::{ConversationId, Place, SessionId, UserId},
    reply::Reply,
};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::sync::{Arc, Mutex, PoisonError};

macro_rules! events {
    ($($name:ident = $text:literal,)*) => {
        /// Every event a client can get, by the name it has on the socket.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        pub enum EventName {
            $($name,)*
            /// One that only a newer worker knows: passed on by its name.
            Other(&'static str),
        }

        impl EventName {
            pub const ALL: &[EventName] = &[$(EventName::$name,)*];

            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* Self::Other(name) => name }
            }

            /// This name's bit in a session's choice of events. All that are not known share one: who has chosen did
            /// not choose them.
            pub fn bit(self) -> u64 {
                #[repr(u8)]
                enum Bit { $($name,)* }
                match self { $(Self::$name => 1 << Bit::$name as u8,)* Self::Other(_) => 1 << 63 }
            }
        }
    };
}

events! {
    MessageCreated = "message.created",
    MessageEdited = "message.edited",
    MessageDeleted = "message.deleted",
    ReceiptUpdated = "receipt.updated",
    ConversationCreated = "conversation.created",
    ConversationUpdated = "conversation.updated",
    ConversationDeleted = "conversation.deleted",
    MemberAdded = "member.added",
    MemberRemoved = "member.removed",
    MemberUpdated = "member.updated",
    Typing = "typing",
    Presence = "presence",
    SessionEnded = "session.ended",
    Heartbeat = "heartbeat",
    Resync = "resync",
    Reconnect = "reconnect",
}

impl EventName {
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|name| name.as_str() == text)
    }

    /// The same; one that is not known is remembered by its name, up to a bound that no worker of the next version
    /// reaches. None: beyond it, or no name at all.
    pub fn parse_or_keep(text: &str) -> Option<Self> {
        static KEPT: Mutex<Vec<&'static str>> = Mutex::new(Vec::new());
        Self::parse(text).or_else(|| keep(&mut KEPT.lock().unwrap_or_else(PoisonError::into_inner), text))
    }
}

/// Names of other versions that are remembered, and the length each may have: 4 KiB that are never given back.
const KEPT_MAX: usize = 64;
const KEPT_NAME_MAX: usize = 64;

fn keep(kept: &mut Vec<&'static str>, text: &str) -> Option<EventName> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte == b'.' || byte == b'_';
    if text.is_empty() || text.len() > KEPT_NAME_MAX || !text.bytes().all(plain) {
        return None;
    }
    if let Some(name) = kept.iter().find(|name| **name == text) {
        return Some(EventName::Other(name));
    }
    if kept.len() >= KEPT_MAX {
        return None;
    }
    let name: &'static str = Box::leak(text.into());
    kept.push(name);
    Some(EventName::Other(name))
}

/// Where an event stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Position {
    /// In a conversation's order; seen by all its members.
    Conversation { id: ConversationId, seq: i64, rev: i64 },
    /// In one person's own stream.
    User { urev: i64 },
    /// Nowhere: typing, presence, receipts. Lost is lost.
    Ephemeral { conversation: Option<ConversationId> },
}

impl Position {
    pub fn place(&self) -> Option<(ConversationId, Place)> {
        match *self {
            Self::Conversation { id, seq, rev } => Some((id, Place::of(seq, rev))),
            _ => None,
        }
    }
}

#[derive(Clone, Debug)]
pub struct Event {
    pub name: EventName,
    pub position: Position,
    /// The value of the client's `data`, one JSON object.
    pub data: Bytes,
}

/// What a worker tells a gateway: one per gateway per batch, in order.
#[derive(Clone, Debug, Default)]
pub struct InboxEntry {
    pub items: Vec<InboxItem>,
}

impl InboxEntry {
    /// Roughly what this entry occupies, for bounds counted in bytes.
    pub fn weight(&self) -> usize {
        64 + self.items.iter().map(InboxItem::weight).sum::<usize>()
    }
}

#[derive(Clone, Debug)]
pub enum InboxItem {
    /// Events in order, all of one conversation (or all of none), each for everybody in `to`.
    Events { events: Arc<[Event]>, to: Arc<[UserId]> },
    /// Answers to commands of this gateway. They follow the events that the commands caused.
    Replies(Vec<Reply>),
    /// There is more, up to this place of the conversation (or anywhere, where none is named): read it again.
    Resync { conversation: Option<(ConversationId, Place)>, to: Arc<[UserId]> },
    /// These sessions are over: close their sockets, refuse their tokens.
    SessionsEnded(Arc<[SessionId]>),
}

impl InboxItem {
    pub(crate) fn weight(&self) -> usize {
        match self {
            Self::Events { events, to } => 16 * to.len() + events.iter().map(|e| 96 + e.data.len()).sum::<usize>(),
            Self::Replies(replies) => replies.iter().map(Reply::weight).sum(),
            Self::Resync { to, .. } => 64 + 16 * to.len(),
            Self::SessionsEnded(sessions) => 16 * sessions.len(),
        }
    }
}

/// What hangs on the outbox: a pointer, never a text. Consumers read the rows as they are now, so that any repetition
/// and any order is harmless and deleted text survives nowhere (promise 5).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum DurableEvent {
    /// Everything of the conversation after place `from`, up to place `to`, at `rev` when it was written.
    Conversation { id: ConversationId, from: Place, to: Place },
    /// The user's stream has moved to `urev`.
    User { id: UserId, urev: i64 },
    /// Sessions that have ended.
    SessionsEnded(Vec<SessionId>),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_again_and_have_a_bit_each() {
        let mut bits = 0;
        for name in EventName::ALL {
            assert_eq!(EventName::parse(name.as_str()), Some(*name));
            assert_eq!(bits & name.bit(), 0);
            bits |= name.bit();
        }
        assert_eq!(EventName::parse("message"), None);
        assert_eq!(bits & EventName::Other("new.one").bit(), 0);
    }

    #[test]
    fn names_of_a_newer_version_are_kept_within_bounds() {
        let mut kept = vec![];
        for _ in 0..2 {
            assert_eq!(keep(&mut kept, "poll.closed"), Some(EventName::Other("poll.closed")));
        }
        for bad in ["", "Shouting", "two words", "\"", &"x".repeat(KEPT_NAME_MAX + 1)] {
            assert_eq!(keep(&mut kept, bad), None);
        }
        for number in 0..100_u8 {
            let name: String = [b'a' + number / 10, b'a' + number % 10].map(char::from).iter().collect();
            keep(&mut kept, &name);
        }
        assert_eq!((kept.len(), keep(&mut kept, "one.too.many")), (KEPT_MAX, None));
        assert_eq!(EventName::parse_or_keep("typing"), Some(EventName::Typing));
    }
}
