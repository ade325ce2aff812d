//! Commands: what somebody asks for. Every change that another person must see is one of these, whether it came over
//! REST, a native socket or Socket.IO: one way in. A worker applies it, exactly once, and answers with a [`Reply`].
//!
//! [`Reply`]: crate::reply::Reply

use crate::domain::{
    CommandId, ConversationId, ConversationKind, GatewayId, MessageId, MessageKind, Role, SessionId, UserId,
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Which gateway is to hear the answers: its id and the epoch of its inbox. An answer to an epoch that is over reaches
/// nobody; the gateway resends under its new one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct GatewayRef {
    pub id: GatewayId,
    pub epoch: u64,
}

/// What travels on the bus: commands of one gateway for one partition, in the order they were given.
/// At most [`BATCH_COMMANDS_MAX`](crate::domain::BATCH_COMMANDS_MAX) of them.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CommandBatch {
    pub from: GatewayRef,
    pub commands: Vec<Envelope>,
}

/// One command with everything a worker needs to apply and answer it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Envelope {
    /// The gateway's own number for whoever waits; comes back in the reply.
    pub ticket: u64,
    /// The same id again is the same command. For a send it is the message's id.
    pub id: CommandId,
    pub actor: UserId,
    pub session: SessionId,
    /// One id from the client's request through broker and worker back; for logs only.
    pub request_id: Arc<str>,
    pub command: Command,
}

impl Envelope {
    /// Roughly what this command occupies in memory and on the wire, for bounds counted in bytes.
    pub fn weight(&self) -> usize {
        160 + self.request_id.len() + self.command.weight()
    }
}

/// Positions that only rise. `None` leaves that mark as it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Marks {
    pub read_seq: Option<i64>,
    pub delivered_seq: Option<i64>,
}

impl Marks {
    /// The higher of both: two marks of one person in one conversation are one.
    pub fn merge(&mut self, other: Marks) {
        self.read_seq = self.read_seq.max(other.read_seq);
        self.delivered_seq = self.delivered_seq.max(other.delivered_seq);
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SendMessage {
    pub conversation_id: ConversationId,
    pub kind: MessageKind,
    pub body: Box<str>,
    /// A JSON object with what only some messages have: payload, attachments, mentions, forwarded_from.
    pub extra: Option<Box<str>>,
    pub reply_to: Option<MessageId>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Command {
    Send(SendMessage),
    Edit {
        conversation_id: ConversationId,
        message_id: MessageId,
        body: Box<str>,
    },
    Delete {
        conversation_id: ConversationId,
        message_id: MessageId,
    },
    CreateConversation {
        id: ConversationId,
        kind: ConversationKind,
        /// Besides the actor.
        members: Vec<UserId>,
        title: Option<Box<str>>,
        description: Option<Box<str>>,
    },
    UpdateConversation {
        conversation_id: ConversationId,
        title: Option<Box<str>>,
        description: Option<Box<str>>,
    },
    CloseConversation {
        conversation_id: ConversationId,
    },
    AddMembers {
        conversation_id: ConversationId,
        users: Vec<UserId>,
    },
    /// Removing oneself is leaving.
    RemoveMember {
        conversation_id: ConversationId,
        user: UserId,
    },
    SetRole {
        conversation_id: ConversationId,
        user: UserId,
        role: Role,
    },
    Mark {
        conversation_id: ConversationId,
        marks: Marks,
    },
    /// One that only a newer gateway knows: refused as `unsupported`, and not remembered, so that a newer worker may
    /// still carry it out. Made by reading only.
    #[serde(skip)]
    Unknown,
}

impl Command {
    /// The conversation this is about; its id decides the partition, so that all its commands keep their order.
    pub fn conversation(&self) -> ConversationId {
        match self {
            Self::Send(send) => send.conversation_id,
            Self::CreateConversation { id, .. } => *id,
            Self::Edit { conversation_id, .. }
            | Self::Delete { conversation_id, .. }
            | Self::UpdateConversation { conversation_id, .. }
            | Self::CloseConversation { conversation_id }
            | Self::AddMembers { conversation_id, .. }
            | Self::RemoveMember { conversation_id, .. }
            | Self::SetRole { conversation_id, .. }
            | Self::Mark { conversation_id, .. } => *conversation_id,
            Self::Unknown => ConversationId(uuid::Uuid::nil()),
        }
    }

    /// Tells a copy from another command under the same id: 16 bytes of SHA-256 over what it says. The id of a new group
    /// is left out: where the client gave none, each try has another.
    pub fn digest(&self) -> [u8; 16] {
        let mut said = self.clone();
        if let Self::CreateConversation { id, .. } = &mut said {
            *id = ConversationId(uuid::Uuid::nil());
        }
        let json = crate::view::json(&said);
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &json);
        let mut short = [0; 16];
        short.copy_from_slice(&digest.as_ref()[..16]);
        short
    }

    /// For metrics and logs.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Send(_) => "message.send",
            Self::Edit { .. } => "message.edit",
            Self::Delete { .. } => "message.delete",
            Self::CreateConversation { .. } => "conversation.create",
            Self::UpdateConversation { .. } => "conversation.update",
            Self::CloseConversation { .. } => "conversation.delete",
            Self::AddMembers { .. } => "member.add",
            Self::RemoveMember { .. } => "member.remove",
            Self::SetRole { .. } => "member.role",
            Self::Mark { .. } => "conversation.mark",
            Self::Unknown => "unknown",
        }
    }

    fn weight(&self) -> usize {
        match self {
            Self::Send(send) => send.body.len() + send.extra.as_ref().map_or(0, |extra| extra.len()),
            Self::Edit { body, .. } => body.len(),
            Self::CreateConversation { members, title, description, .. } => {
                members.len() * 16 + [title, description].into_iter().flatten().map(|text| text.len()).sum::<usize>()
            }
            Self::UpdateConversation { title, description, .. } => {
                [title, description].into_iter().flatten().map(|text| text.len()).sum()
            }
            Self::AddMembers { users, .. } => users.len() * 16,
            _ => 0,
        }
    }
}

/// Which of `partitions` a conversation's commands go to: FNV-1a, 64 bits, over the sixteen bytes of the id, modulo the
/// count. Stable for ever: old and new programs must agree while both run.
pub fn partition(conversation: ConversationId, partitions: u16) -> u16 {
    let hash =
        conversation.0.as_bytes().iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
    (hash % u64::from(partitions)) as u16
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn partition_test_vector() {
        let of = |n: u128| partition(ConversationId(Uuid::from_u128(n)), 8);
        assert_eq!([of(0), of(1), of(2), of(u128::MAX)], [5, 2, 7, 5]);
    }

    #[test]
    fn marks_only_rise() {
        let mut marks = Marks { read_seq: Some(5), delivered_seq: None };
        marks.merge(Marks { read_seq: Some(3), delivered_seq: Some(9) });
        assert_eq!(marks, Marks { read_seq: Some(5), delivered_seq: Some(9) });
    }
}
