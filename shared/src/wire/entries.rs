//! An entry of a gateway's inbox: `version, count`, then for each item `kind, length` and what the kind has. The JSON in
//! it is not copied when it is read: it stays in the message's memory until the last socket has it.

use super::{VERSION, WireError, reader::Reader};
use crate::{
    domain::{ConversationId, Place, SessionId, UserId},
    event::{Event, EventName, InboxEntry, InboxItem, Position},
    reply::{Code, Outcome, Refusal, Reply},
};
use bytes::{BufMut, Bytes};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use uuid::Uuid;

mod kind {
    pub const EVENTS: u8 = 1;
    pub const REPLIES: u8 = 2;
    pub const RESYNC: u8 = 3;
    pub const SESSIONS_ENDED: u8 = 4;
}

mod position {
    pub const CONVERSATION: u8 = 1;
    pub const USER: u8 = 2;
    pub const EPHEMERAL: u8 = 3;
    pub const EPHEMERAL_IN_CONVERSATION: u8 = 4;
}

mod outcome {
    pub const CREATED: u8 = 1;
    pub const THERE: u8 = 2;
    pub const REFUSED: u8 = 3;
}

pub fn encode_entry(entry: &InboxEntry) -> Vec<u8> {
    let mut message = Vec::with_capacity(entry.weight());
    message.put_u8(VERSION);
    message.put_u32(entry.items.len() as u32);
    for item in &entry.items {
        let kind = match item {
            InboxItem::Events { .. } => kind::EVENTS,
            InboxItem::Replies(_) => kind::REPLIES,
            InboxItem::Resync { .. } => kind::RESYNC,
            InboxItem::SessionsEnded(_) => kind::SESSIONS_ENDED,
        };
        message.put_u8(kind);
        let start = message.len();
        message.put_u32(0);
        put_item(&mut message, item);
        let length = (message.len() - start - 4) as u32;
        message[start..start + 4].copy_from_slice(&length.to_be_bytes());
    }
    message
}

fn put_item(message: &mut Vec<u8>, item: &InboxItem) {
    match item {
        InboxItem::Events { events, to } => {
            message.put_u32(events.len() as u32);
            events.iter().for_each(|event| put_event(message, event));
            put_ids(message, to.iter().map(|user| user.0));
        }
        InboxItem::Replies(replies) => {
            message.put_u32(replies.len() as u32);
            replies.iter().for_each(|reply| put_reply(message, reply));
        }
        InboxItem::Resync { conversation, to } => {
            message.put_u8(u8::from(conversation.is_some()));
            if let Some((id, place)) = conversation {
                message.put_u128(id.0.as_u128());
                message.put_i64(place.0);
            }
            put_ids(message, to.iter().map(|user| user.0));
        }
        InboxItem::SessionsEnded(sessions) => put_ids(message, sessions.iter().map(|session| session.0)),
    }
}

fn put_event(message: &mut Vec<u8>, event: &Event) {
    let name = event.name.as_str();
    message.put_u8(name.len() as u8);
    message.put_slice(name.as_bytes());
    match event.position {
        Position::Conversation { id, seq, rev } => {
            message.put_u8(position::CONVERSATION);
            message.put_u128(id.0.as_u128());
            message.put_i64(seq);
            message.put_i64(rev);
        }
        Position::User { urev } => {
            message.put_u8(position::USER);
            message.put_i64(urev);
        }
        Position::Ephemeral { conversation: None } => message.put_u8(position::EPHEMERAL),
        Position::Ephemeral { conversation: Some(id) } => {
            message.put_u8(position::EPHEMERAL_IN_CONVERSATION);
            message.put_u128(id.0.as_u128());
        }
    }
    put_bytes(message, &event.data);
}

fn put_reply(message: &mut Vec<u8>, reply: &Reply) {
    message.put_u64(reply.ticket);
    match &reply.outcome {
        Outcome::Ok { created, json } => {
            message.put_u8(if *created { outcome::CREATED } else { outcome::THERE });
            put_bytes(message, json);
        }
        Outcome::Refused(refusal) => {
            message.put_u8(outcome::REFUSED);
            put_bytes(message, &crate::view::json(&WireRefusal::from(refusal)));
        }
    }
}

fn put_bytes(message: &mut Vec<u8>, bytes: &[u8]) {
    message.put_u32(bytes.len() as u32);
    message.put_slice(bytes);
}

fn put_ids(message: &mut Vec<u8>, ids: impl ExactSizeIterator<Item = Uuid>) {
    message.put_u32(ids.len() as u32);
    ids.for_each(|id| message.put_u128(id.as_u128()));
}

/// A refusal whose code may be one that a newer worker has.
#[derive(Serialize, Deserialize)]
struct WireRefusal<'a> {
    code: Cow<'a, str>,
    detail: Cow<'a, str>,
    retry_after: Option<u32>,
    field: Option<(Cow<'a, str>, Cow<'a, str>)>,
}

impl<'a> From<&'a Refusal> for WireRefusal<'a> {
    fn from(refusal: &'a Refusal) -> Self {
        let field = refusal.field.as_ref().map(|(name, problem)| (Cow::from(&**name), Cow::from(&**problem)));
        Self {
            code: refusal.code.as_str().into(),
            detail: Cow::from(&*refusal.detail),
            retry_after: refusal.retry_after,
            field,
        }
    }
}

impl From<WireRefusal<'_>> for Refusal {
    fn from(wire: WireRefusal<'_>) -> Self {
        let owned = |text: Cow<'_, str>| Cow::Owned(text.into_owned());
        Self {
            code: Code::parse(&wire.code).unwrap_or(Code::Internal),
            detail: owned(wire.detail),
            retry_after: wire.retry_after,
            field: wire.field.map(|(name, problem)| (owned(name), owned(problem))),
        }
    }
}

pub fn decode_entry(message: Bytes) -> Result<InboxEntry, WireError> {
    let mut reader = Reader::new(message)?;
    let count = reader.count(5)?;
    let mut items = Vec::with_capacity(count);
    for _ in 0..count {
        let kind = reader.u8()?;
        let part = reader.part()?;
        match kind {
            kind::EVENTS => items.push(events(part)?),
            kind::REPLIES => items.push(replies(part)?),
            kind::RESYNC => items.push(resync(part)?),
            kind::SESSIONS_ENDED => items.push(sessions_ended(part)?),
            // A newer worker's: workers are upgraded first.
            _ => metrics::counter!("rookery_wire_unknown_total", "what" => "item").increment(1),
        }
    }
    Ok(InboxEntry { items })
}

fn events(mut reader: Reader) -> Result<InboxItem, WireError> {
    let count = reader.count(6)?;
    let events = (0..count).map(|_| event(&mut reader)).collect::<Result<Vec<_>, _>>()?;
    // Of one that cannot be passed on nobody hears; the place it had is a hole, and the hub says `resync`.
    let events = events.into_iter().flatten().collect();
    Ok(InboxItem::Events { events, to: reader.ids(UserId)?.into() })
}

/// None: its name is not known and cannot be remembered either.
fn event(reader: &mut Reader) -> Result<Option<Event>, WireError> {
    let length = usize::from(reader.u8()?);
    let name = reader.bytes(length)?;
    let name = std::str::from_utf8(&name).map_err(|_| WireError::Malformed("an event's name"))?;
    let position = match reader.u8()? {
        position::CONVERSATION => {
            Position::Conversation { id: ConversationId(reader.id()?), seq: reader.i64()?, rev: reader.i64()? }
        }
        position::USER => Position::User { urev: reader.i64()? },
        position::EPHEMERAL => Position::Ephemeral { conversation: None },
        position::EPHEMERAL_IN_CONVERSATION => Position::Ephemeral { conversation: Some(ConversationId(reader.id()?)) },
        _ => return Err(WireError::Malformed("an event's position")),
    };
    let data = json(reader)?;
    Ok(EventName::parse_or_keep(name).map(|name| Event { name, position, data }))
}

fn replies(mut reader: Reader) -> Result<InboxItem, WireError> {
    let count = reader.count(13)?;
    Ok(InboxItem::Replies((0..count).map(|_| reply(&mut reader)).collect::<Result<_, _>>()?))
}

fn reply(reader: &mut Reader) -> Result<Reply, WireError> {
    let ticket = reader.u64()?;
    let kind = reader.u8()?;
    let json = json(reader)?;
    let outcome = match kind {
        outcome::CREATED | outcome::THERE => Outcome::Ok { created: kind == outcome::CREATED, json },
        outcome::REFUSED => {
            let refusal: WireRefusal<'_> =
                serde_json::from_slice(&json).map_err(|_| WireError::Malformed("a refusal"))?;
            Outcome::Refused(refusal.into())
        }
        _ => return Err(WireError::Malformed("an outcome")),
    };
    Ok(Reply { ticket, outcome })
}

/// It goes into frames as it is: bytes that are not text would end every socket they are sent to.
fn json(reader: &mut Reader) -> Result<Bytes, WireError> {
    let length = reader.u32()? as usize;
    let json = reader.bytes(length)?;
    match std::str::from_utf8(&json) {
        Ok(_) => Ok(json),
        Err(_) => Err(WireError::Malformed("a text")),
    }
}

fn resync(mut reader: Reader) -> Result<InboxItem, WireError> {
    let conversation = match reader.u8()? {
        0 => None,
        _ => Some((ConversationId(reader.id()?), Place(reader.i64()?))),
    };
    Ok(InboxItem::Resync { conversation, to: reader.ids(UserId)?.into() })
}

fn sessions_ended(mut reader: Reader) -> Result<InboxItem, WireError> {
    Ok(InboxItem::SessionsEnded(reader.ids(SessionId)?.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::sync::Arc;

    fn entry() -> InboxEntry {
        let id = ConversationId::new();
        let event = |name, position| Event { name, position, data: Bytes::from_static(b"{\"body\":\"\xc3\xa4\"}") };
        let events: Arc<[Event]> = Arc::from([
            event(EventName::MessageCreated, Position::Conversation { id, seq: 1 << 40, rev: 3 }),
            event(EventName::ConversationUpdated, Position::User { urev: 9 }),
            event(EventName::Presence, Position::Ephemeral { conversation: None }),
            event(EventName::Typing, Position::Ephemeral { conversation: Some(id) }),
        ]);
        let json = Bytes::from_static(b"{}");
        let limited = Refusal { retry_after: Some(3), ..Refusal::field("title", "is too long") };
        let outcomes = [
            Outcome::Ok { created: true, json: json.clone() },
            Outcome::Ok { created: false, json },
            Outcome::Refused(limited),
        ];
        let replies = outcomes.into_iter().zip(7..).map(|(outcome, ticket)| Reply { ticket, outcome }).collect();
        let to: Arc<[UserId]> = (0..3).map(|_| UserId::new()).collect();
        InboxEntry {
            items: vec![
                InboxItem::Events { events, to: to.clone() },
                InboxItem::Replies(replies),
                InboxItem::Resync { conversation: Some((id, Place(5))), to: to.clone() },
                InboxItem::Resync { conversation: None, to },
                InboxItem::SessionsEnded([SessionId::new()].into()),
            ],
        }
    }

    #[test]
    fn every_item_is_read_as_it_was_written() {
        let entry = entry();
        let read = decode_entry(encode_entry(&entry).into()).unwrap();
        assert_eq!(format!("{read:?}"), format!("{entry:?}"));
    }

    #[test]
    fn every_beginning_of_an_entry_is_an_error() {
        let message = Bytes::from(encode_entry(&entry()));
        for end in 0..message.len() {
            assert!(decode_entry(message.slice(..end)).is_err(), "cut at {end}");
        }
    }

    #[test]
    fn what_a_newer_worker_says_is_passed_on_or_left_out() {
        let mut entry = entry();
        entry.items.truncate(2);
        let mut message = encode_entry(&entry);
        let at = message.windows(6).position(|window| window == b"typing").unwrap();
        message[at..at + 6].copy_from_slice(b"tapped");
        let at = message.windows(7).position(|window| window == b"invalid").unwrap();
        message[at..at + 7].copy_from_slice(b"insipid");
        let read = decode_entry(message.clone().into()).unwrap();
        let [InboxItem::Events { events, .. }, InboxItem::Replies(replies)] = &read.items[..] else {
            panic!("{read:?}")
        };
        assert_eq!(events[3].name.as_str(), "tapped");
        assert!(matches!(&replies[2].outcome, Outcome::Refused(refusal) if refusal.code == Code::Internal));
        message[5] = 200;
        assert_eq!(decode_entry(message.into()).unwrap().items.len(), 1);
    }

    #[test]
    fn bytes_that_are_not_text_reach_no_socket() {
        let mut message = encode_entry(&entry());
        let at = message.windows(2).position(|window| window == [0xc3, 0xa4]).unwrap();
        message[at] = 0xff;
        assert_eq!(decode_entry(message.into()).unwrap_err(), WireError::Malformed("a text"));
    }

    proptest! {
        #[test]
        fn strangers_bytes_are_read_or_refused(mut message: Vec<u8>, position: prop::sample::Index, byte: u8) {
            message.insert(0, VERSION);
            let _ = decode_entry(message.into());
            let mut changed = encode_entry(&entry());
            let at = position.index(changed.len());
            changed[at] = byte;
            let _ = decode_entry(changed.into());
        }
    }
}
