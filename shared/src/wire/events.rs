//! A durable event: `version`, then JSON. It is small and rare beside what gateways are told, and whoever looks into a
//! queue of dead letters can read it.

use super::{VERSION, WireError, reader::Reader};
use crate::event::DurableEvent;
use bytes::Bytes;

pub fn encode_event(event: &DurableEvent) -> Vec<u8> {
    let mut message = vec![VERSION];
    message.extend_from_slice(&crate::view::json(event));
    message
}

pub fn decode_event(message: Bytes) -> Result<DurableEvent, WireError> {
    let json = Reader::new(message)?.rest();
    serde_json::from_slice(&json).map_err(|_| WireError::Malformed("an event"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{ConversationId, Place, SessionId, UserId};

    #[test]
    fn every_event_is_read_as_it_was_written() {
        let events = [
            DurableEvent::Conversation { id: ConversationId::new(), from: Place(3), to: Place(9) },
            DurableEvent::User { id: UserId::new(), urev: 4 },
            DurableEvent::SessionsEnded(vec![SessionId::new()]),
        ];
        for event in events {
            assert_eq!(decode_event(encode_event(&event).into()), Ok(event));
        }
        assert_eq!(decode_event(Bytes::from_static(b"\x01{}")), Err(WireError::Malformed("an event")));
    }
}
