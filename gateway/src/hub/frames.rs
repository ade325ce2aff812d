//! Frames of the native socket, made once for everybody who gets them.

use crate::shard::codec;
use bytes::{Bytes, BytesMut};
use shared::{
    domain::ConversationId,
    event::{Event, Position},
    reply::{Outcome, Refusal},
    view::json,
};
use std::fmt::Write;

/// `{"event":…,"conversation_id":…,"seq":…,"rev":…,"data":…}` as a frame behind those already in `out`.
pub fn append_event(out: &mut BytesMut, event: &Event) {
    let mut head = String::with_capacity(160);
    let name = event.name.as_str();
    let written = match event.position {
        Position::Conversation { id, seq, rev } => {
            write!(head, r#"{{"event":"{name}","conversation_id":"{id}","seq":{seq},"rev":{rev},"data":"#)
        }
        Position::User { urev } => write!(head, r#"{{"event":"{name}","urev":{urev},"data":"#),
        Position::Ephemeral { conversation: Some(id) } => {
            write!(head, r#"{{"event":"{name}","conversation_id":"{id}","data":"#)
        }
        Position::Ephemeral { conversation: None } => write!(head, r#"{{"event":"{name}","data":"#),
    };
    debug_assert!(written.is_ok(), "writing to a String does not fail");
    codec::append_text_frame(out, &[head.as_bytes(), &event.data, b"}"]);
}

pub fn event_frame(event: &Event) -> Bytes {
    let mut bytes = BytesMut::with_capacity(event.data.len() + 160);
    append_event(&mut bytes, event);
    bytes.freeze()
}

/// `{"re":7,"ok":…}` or `{"re":7,"error":…}`.
pub fn reply_frame(re: u64, outcome: &Outcome) -> Bytes {
    match outcome {
        Outcome::Ok { json, .. } => frame(&[format!(r#"{{"re":{re},"ok":"#).as_bytes(), json, b"}"]),
        Outcome::Refused(refusal) => frame(&[format!(r#"{{"re":{re},"error":"#).as_bytes(), &error(refusal), b"}"]),
    }
}

/// A refusal of something that had no number.
pub fn error_frame(refusal: &Refusal) -> Bytes {
    frame(&[br#"{"re":null,"error":"#, &error(refusal), b"}"])
}

/// Read these conversations again; none named: everything.
pub fn resync_frame(conversations: &[ConversationId]) -> Bytes {
    let ids = if conversations.is_empty() { Bytes::from_static(b"null") } else { json(&conversations) };
    frame(&[br#"{"event":"resync","data":{"conversation_ids":"#, &ids, b"}}"])
}

pub fn frame(parts: &[&[u8]]) -> Bytes {
    let mut bytes = BytesMut::with_capacity(parts.iter().map(|part| part.len()).sum::<usize>() + 10);
    codec::append_text_frame(&mut bytes, parts);
    bytes.freeze()
}

fn error(refusal: &Refusal) -> Bytes {
    let fields = refusal.field.as_ref().map(|(name, problem)| serde_json::json!({ name.as_ref(): problem }));
    json(&serde_json::json!({
        "code": refusal.code.as_str(), "detail": refusal.detail, "retry_after": refusal.retry_after, "fields": fields
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use shared::{domain::ConversationId, event::EventName, reply::Code};

    fn text(frame: &Bytes) -> serde_json::Value {
        let at = if frame[1] < 126 { 2 } else { 4 };
        serde_json::from_slice(&frame[at..]).unwrap()
    }

    #[test]
    fn frames_are_what_the_interface_says() {
        let id = ConversationId::new();
        let position = Position::Conversation { id, seq: 41, rev: 3 };
        let event = Event { name: EventName::MessageCreated, position, data: Bytes::from_static(br#"{"message":{}}"#) };
        let expected = serde_json::json!({ "event": "message.created", "conversation_id": id, "seq": 41, "rev": 3, "data": { "message": {} } });
        assert_eq!(text(&event_frame(&event)), expected);
        assert_eq!(
            text(&resync_frame(&[])),
            serde_json::json!({ "event": "resync", "data": { "conversation_ids": null } })
        );
        let refused = Outcome::Refused(Refusal::new(Code::RateLimited, "wait").retry_after(2));
        let expected = serde_json::json!({ "re": 7, "error": { "code": "rate_limited", "detail": "wait", "retry_after": 2, "fields": null } });
        assert_eq!(text(&reply_frame(7, &refused)), expected);
    }
}
