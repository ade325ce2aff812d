//! A gateway's batch of commands: `version, gateway, epoch, count`, then for each `length, ticket, id, actor, session,
//! request id (length in a byte), command`. The command itself is JSON, whose fields may grow.

use super::{VERSION, WireError, reader::Reader};
use crate::{
    command::{Command, CommandBatch, Envelope, GatewayRef},
    domain::{CommandId, GatewayId, SessionId, UserId},
};
use bytes::{BufMut, Bytes};

/// Longer ids of requests are cut: they are for logs.
const REQUEST_ID_MAX: usize = 255;
/// An envelope without its request id and its command.
const HEAD: usize = 4 + 8 + 3 * 16 + 1;

pub fn encode_batch(batch: &CommandBatch) -> Vec<u8> {
    let weight: usize = batch.commands.iter().map(Envelope::weight).sum();
    let mut message = Vec::with_capacity(32 + weight + weight / 4);
    message.put_u8(VERSION);
    message.put_u128(batch.from.id.0.as_u128());
    message.put_u64(batch.from.epoch);
    message.put_u32(batch.commands.len() as u32);
    for envelope in &batch.commands {
        put_envelope(&mut message, envelope);
    }
    message
}

fn put_envelope(message: &mut Vec<u8>, envelope: &Envelope) {
    let start = message.len();
    message.put_u32(0);
    message.put_u64(envelope.ticket);
    message.put_u128(envelope.id.0.as_u128());
    message.put_u128(envelope.actor.0.as_u128());
    message.put_u128(envelope.session.0.as_u128());
    let request_id = cut(&envelope.request_id);
    message.put_u8(request_id.len() as u8);
    message.put_slice(request_id.as_bytes());
    serde_json::to_writer(&mut *message, &envelope.command)
        .expect("cannot fail because a command has no map with other keys than text");
    let length = (message.len() - start - 4) as u32;
    message[start..start + 4].copy_from_slice(&length.to_be_bytes());
}

fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(REQUEST_ID_MAX)]
}

pub fn decode_batch(message: Bytes) -> Result<CommandBatch, WireError> {
    let mut reader = Reader::new(message)?;
    let from = GatewayRef { id: GatewayId(reader.id()?), epoch: reader.u64()? };
    let count = reader.count(HEAD)?;
    let commands = (0..count).map(|_| envelope(reader.part()?)).collect::<Result<_, _>>()?;
    Ok(CommandBatch { from, commands })
}

fn envelope(mut reader: Reader) -> Result<Envelope, WireError> {
    let (ticket, id) = (reader.u64()?, CommandId(reader.id()?));
    let (actor, session) = (UserId(reader.id()?), SessionId(reader.id()?));
    let length = usize::from(reader.u8()?);
    let request_id = reader.bytes(length)?;
    let request_id = std::str::from_utf8(&request_id).map_err(|_| WireError::Malformed("a request id"))?.into();
    // Its gateway waits for an answer: one that this program does not know is refused, not dropped.
    let command = serde_json::from_slice(&reader.rest()).unwrap_or(Command::Unknown);
    Ok(Envelope { ticket, id, actor, session, request_id, command })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        command::{Marks, SendMessage},
        domain::{ConversationId, ConversationKind, MessageId, MessageKind, Role},
    };
    use proptest::prelude::*;

    fn envelope(ticket: u64, command: Command) -> Envelope {
        let (id, actor, session) = (CommandId::new(), UserId::new(), SessionId::new());
        Envelope { ticket, id, actor, session, request_id: "request".into(), command }
    }

    fn one_of_each() -> Vec<Command> {
        let (conversation_id, message_id, user) = (ConversationId::new(), MessageId::new(), UserId::new());
        vec![
            Command::Send(SendMessage {
                conversation_id,
                kind: MessageKind::Text,
                body: "\"quotes\", \u{1F600} and \n".into(),
                extra: Some("{\"mentions\":[]}".into()),
                reply_to: Some(message_id),
            }),
            Command::Edit { conversation_id, message_id, body: "other".into() },
            Command::Delete { conversation_id, message_id },
            Command::CreateConversation {
                id: conversation_id,
                kind: ConversationKind::Group,
                members: vec![user; 3],
                title: Some("title".into()),
                description: None,
            },
            Command::UpdateConversation { conversation_id, title: None, description: Some("".into()) },
            Command::CloseConversation { conversation_id },
            Command::AddMembers { conversation_id, users: vec![user] },
            Command::RemoveMember { conversation_id, user },
            Command::SetRole { conversation_id, user, role: Role::Admin },
            Command::Mark { conversation_id, marks: Marks { read_seq: Some(7), delivered_seq: None } },
        ]
    }

    fn batch() -> CommandBatch {
        let commands = one_of_each().into_iter().zip(0..).map(|(command, ticket)| envelope(ticket, command)).collect();
        CommandBatch { from: GatewayRef { id: GatewayId::new(), epoch: u64::MAX }, commands }
    }

    #[test]
    fn every_command_is_read_as_it_was_written() {
        let batch = batch();
        let read = decode_batch(encode_batch(&batch).into()).unwrap();
        assert_eq!(format!("{read:?}"), format!("{batch:?}"));
    }

    #[test]
    fn a_command_that_is_not_known_keeps_its_way_back() {
        let mut batch = batch();
        batch.commands.truncate(2);
        let mut message = encode_batch(&batch);
        let at = message.windows(6).position(|window| window == b"{\"Send").unwrap();
        message[at + 2..at + 6].copy_from_slice(b"Sing");
        let read = decode_batch(message.into()).unwrap();
        assert!(matches!(read.commands[0].command, Command::Unknown));
        assert_eq!(read.commands[0].ticket, 0);
        assert!(matches!(read.commands[1].command, Command::Edit { .. }));
    }

    #[test]
    fn another_version_is_refused_by_name() {
        let mut message = encode_batch(&batch());
        message[0] = 9;
        assert_eq!(decode_batch(message.into()).unwrap_err(), WireError::Version(9));
    }

    #[test]
    fn every_beginning_of_a_message_is_an_error() {
        let message = Bytes::from(encode_batch(&batch()));
        for end in 0..message.len() {
            assert!(decode_batch(message.slice(..end)).is_err(), "cut at {end}");
        }
    }

    #[test]
    fn a_long_request_id_is_cut_between_characters() {
        let mut batch = batch();
        batch.commands.truncate(1);
        batch.commands[0].request_id = "ä".repeat(300).into();
        let read = decode_batch(encode_batch(&batch).into()).unwrap();
        assert_eq!(&*read.commands[0].request_id, "ä".repeat(127));
    }

    proptest! {
        #[test]
        fn strangers_bytes_are_read_or_refused(mut message: Vec<u8>, position: prop::sample::Index, byte: u8) {
            let _ = decode_batch(message.clone().into());
            message.insert(0, VERSION);
            let _ = decode_batch(message.into());
            let mut changed = encode_batch(&batch());
            let at = position.index(changed.len());
            changed[at] = byte;
            let _ = decode_batch(changed.into());
        }
    }
}
