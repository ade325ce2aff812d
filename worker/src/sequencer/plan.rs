//! Splits a batch into rounds. In one round: the sends (and marks) of each conversation up to its first other command,
//! as one append; then that conversation's other commands up to its next send. What remains is the next round, so that
//! send, edit, send of one conversation stay in order.

use shared::{
    command::{Command, Envelope, GatewayRef, SendMessage},
    domain::{ConversationId, MessageId, UserId, content_digest},
};
use std::collections::{HashMap, hash_map::Entry};

/// A command with the gateway that waits for its answer.
#[derive(Clone, Copy)]
pub struct Item<'a> {
    pub from: GatewayRef,
    pub envelope: &'a Envelope,
}

/// One message to be stored and everybody who asked for it: a copy within one batch is the same row.
#[derive(Clone)]
pub struct Sending<'a> {
    pub send: &'a SendMessage,
    pub id: MessageId,
    pub sender: UserId,
    pub digest: [u8; 16],
    pub items: Vec<Item<'a>>,
}

#[derive(Default)]
pub struct Round<'a> {
    pub sends: Vec<Sending<'a>>,
    pub marks: Vec<Item<'a>>,
    pub others: Vec<Item<'a>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Sends,
    Others,
    Wait,
}

/// Takes the next round out of `remaining`.
pub fn next_round<'a>(remaining: &mut Vec<Item<'a>>) -> Round<'a> {
    let mut round = Round::default();
    let mut stages: HashMap<ConversationId, Stage> = HashMap::new();
    let mut known: HashMap<MessageId, usize> = HashMap::with_capacity(remaining.len());
    // Most batches are sends and marks alone: then no conversation has a stage, until one of them has to wait.
    let only_sends =
        remaining.iter().all(|item| matches!(item.envelope.command, Command::Send(_) | Command::Mark { .. }));
    let mut rest = vec![];
    for item in remaining.drain(..) {
        let conversation = item.envelope.command.conversation();
        let stage = match only_sends && stages.is_empty() {
            true => &mut Stage::Sends.clone(),
            false => stages.entry(conversation).or_insert(Stage::Sends),
        };
        match (&item.envelope.command, *stage) {
            (Command::Send(send), Stage::Sends) => {
                if !add_send(&mut round, &mut known, item, send) {
                    stages.insert(conversation, Stage::Wait);
                    rest.push(item);
                }
            }
            (Command::Mark { .. }, Stage::Sends) => round.marks.push(item),
            (Command::Send(_) | Command::Mark { .. }, Stage::Others) => {
                *stage = Stage::Wait;
                rest.push(item);
            }
            (_, Stage::Sends | Stage::Others) => {
                *stage = Stage::Others;
                round.others.push(item);
            }
            (_, Stage::Wait) => rest.push(item),
        }
    }
    *remaining = rest;
    round
}

/// False: another message under an id of this round; it is judged when that one is stored.
fn add_send<'a>(
    round: &mut Round<'a>,
    known: &mut HashMap<MessageId, usize>,
    item: Item<'a>,
    send: &'a SendMessage,
) -> bool {
    let id = MessageId(item.envelope.id.0);
    let digest = content_digest(send.kind, &send.body, send.extra.as_deref(), send.reply_to);
    match known.entry(id) {
        Entry::Vacant(entry) => {
            entry.insert(round.sends.len());
            round.sends.push(Sending { send, id, sender: item.envelope.actor, digest, items: vec![item] });
            true
        }
        Entry::Occupied(entry) => {
            let first = &mut round.sends[*entry.get()];
            let same = first.digest == digest
                && first.sender == item.envelope.actor
                && first.send.conversation_id == send.conversation_id;
            if same {
                first.items.push(item);
            }
            same
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shared::domain::{CommandId, GatewayId, MessageKind, SessionId};

    fn envelope(id: u128, conversation: u128, body: &str) -> Envelope {
        command(
            id,
            Command::Send(SendMessage {
                conversation_id: ConversationId(uuid::Uuid::from_u128(conversation)),
                kind: MessageKind::Text,
                body: body.into(),
                extra: None,
                reply_to: None,
            }),
        )
    }

    fn command(id: u128, command: Command) -> Envelope {
        let actor = UserId(uuid::Uuid::from_u128(7));
        Envelope {
            ticket: id as u64,
            id: CommandId(uuid::Uuid::from_u128(id)),
            actor,
            session: SessionId::default(),
            request_id: "".into(),
            command,
        }
    }

    fn other(id: u128, conversation: u128) -> Envelope {
        command(id, Command::CloseConversation { conversation_id: ConversationId(uuid::Uuid::from_u128(conversation)) })
    }

    fn rounds(envelopes: &[Envelope]) -> Vec<(Vec<u64>, Vec<u64>)> {
        let from = GatewayRef { id: GatewayId::default(), epoch: 1 };
        let mut remaining: Vec<_> = envelopes.iter().map(|envelope| Item { from, envelope }).collect();
        let mut all = vec![];
        while !remaining.is_empty() {
            let round = next_round(&mut remaining);
            let sends = round.sends.iter().flat_map(|send| &send.items).map(|item| item.envelope.ticket).collect();
            all.push((sends, round.others.iter().map(|item| item.envelope.ticket).collect()));
        }
        all
    }

    #[test]
    fn sends_alone_are_one_round() {
        assert_eq!(rounds(&[envelope(1, 1, "a"), envelope(2, 2, "b"), envelope(3, 1, "c")]), [(vec![1, 2, 3], vec![])]);
    }

    #[test]
    fn a_conversation_keeps_its_order_around_other_commands() {
        let batch =
            [envelope(1, 1, "a"), other(2, 1), other(3, 1), envelope(4, 1, "b"), other(5, 1), envelope(6, 2, "c")];
        assert_eq!(rounds(&batch), [(vec![1, 6], vec![2, 3]), (vec![4], vec![5])]);
    }

    #[test]
    fn a_copy_shares_the_row_and_another_content_waits() {
        assert_eq!(rounds(&[envelope(1, 1, "a"), envelope(1, 1, "a")]), [(vec![1, 1], vec![])]);
        // And whatever was sent after it to its conversation waits with it, or their order would be another.
        assert_eq!(
            rounds(&[envelope(1, 1, "a"), envelope(1, 2, "b"), envelope(2, 2, "c"), envelope(3, 1, "d")]),
            [(vec![1, 3], vec![]), (vec![1, 2], vec![])]
        );
    }
}
