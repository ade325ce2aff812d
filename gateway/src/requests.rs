//! What clients may ask: from a request's JSON to a [`Command`] that a worker carries out, or a [`Query`] that this
//! gateway answers. One input type per request, used by the socket's commands and by REST alike; there the ids in the
//! path are [`Given`] beside the body. Whatever is wrong is refused by the name of its field.
//!
//! In: session (a frame's `cmd` and `data`) or rest (a body). Out: batcher or `queries`.

mod conversations;
mod cursor;
mod fields;
mod members;
mod messages;
mod opaque;
mod sync;

pub use conversations::{
    CreateConversation, DeleteConversation, GetConversation, LeaveConversation, ListConversations, MarkDelivered,
    MarkRead, UpdateConversation,
};
pub use cursor::{after_conversation, after_user};
pub use members::{AddMembers, ListMembers, RemoveMember, SetRole};
pub use messages::{DeleteMessage, EditMessage, GetMessage, ListMessages, ListReceipts, SendMessage};
pub use sync::Sync;

pub use crate::queries::Query;

use crate::json;
use serde::Deserialize;
use shared::{
    command::Command,
    domain::{COMMAND_MAX, CommandId, ConversationId, MessageId, UserId},
    reply::{Code, Refusal},
};

#[derive(Debug)]
pub enum Request {
    Command { id: CommandId, command: Command },
    Query(Query),
}

/// What is known beside a request's own data: who asks, and over REST the ids in the path and the `Idempotency-Key`.
#[derive(Clone, Copy, Debug)]
pub struct Given {
    pub user: UserId,
    pub conversation: Option<ConversationId>,
    pub message: Option<MessageId>,
    pub member: Option<UserId>,
    pub key: Option<CommandId>,
}

impl Given {
    pub fn of(user: UserId) -> Self {
        Self { user, conversation: None, message: None, member: None, key: None }
    }
}

/// The data of one kind of request.
pub trait Input<'a>: Deserialize<'a> {
    fn request(self, given: &Given) -> Result<Request, Refusal>;
}

/// One request of a known kind.
pub fn read<'a, T: Input<'a>>(data: &'a str, given: &Given) -> Result<Request, Refusal> {
    // serde would also take the fields' values in a list, in their order here, which is nobody's business.
    if !data.trim_start().starts_with('{') {
        return Err(Refusal::new(Code::Malformed, "a request's data is an object"));
    }
    json::parse::<T>(data.as_bytes())?.request(given)
}

/// A socket's command with its data: the table of commands. `None`: no command of this name is in it.
pub fn parse(user: UserId, cmd: &str, data: &str) -> Result<Option<Request>, Refusal> {
    let given = Given::of(user);
    if data.len() > COMMAND_MAX {
        return Err(Refusal::new(Code::TooLarge, "a command has at most 64 KiB"));
    }
    let request = match cmd {
        "message.send" => read::<SendMessage>(data, &given),
        "message.edit" => read::<EditMessage>(data, &given),
        "message.delete" => read::<DeleteMessage>(data, &given),
        "message.list" => read::<ListMessages>(data, &given),
        "message.get" => read::<GetMessage>(data, &given),
        "message.receipts" => read::<ListReceipts>(data, &given),
        "conversation.create" => read::<CreateConversation>(data, &given),
        "conversation.update" => read::<UpdateConversation>(data, &given),
        "conversation.delete" => read::<DeleteConversation>(data, &given),
        "conversation.leave" => read::<LeaveConversation>(data, &given),
        "conversation.read" => read::<MarkRead>(data, &given),
        "conversation.delivered" => read::<MarkDelivered>(data, &given),
        "conversation.list" => read::<ListConversations>(data, &given),
        "conversation.get" => read::<GetConversation>(data, &given),
        "member.add" => read::<AddMembers>(data, &given),
        "member.remove" => read::<RemoveMember>(data, &given),
        "member.role" => read::<SetRole>(data, &given),
        "member.list" => read::<ListMembers>(data, &given),
        "sync" => read::<Sync>(data, &given),
        _ => return Ok(None),
    };
    request.map(Some)
}

/// A command under the id that its sender chose for it, or a new one.
fn command(given: &Given, key: Option<CommandId>, command: Command) -> Request {
    Request::Command { id: given.key.or(key).unwrap_or_default(), command }
}

#[cfg(test)]
mod tests;
