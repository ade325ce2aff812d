//! Conversations: begin, change, leave, mark, read.

use super::{Given, Input, Request, command, cursor, fields};
use crate::queries::Query;
use serde::Deserialize;
use shared::{
    command::{Command, Marks},
    domain::{CommandId, ConversationId, ConversationKind, UserId},
    reply::Refusal,
};
use std::borrow::Cow;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CreateConversation<'a> {
    id: Option<ConversationId>,
    kind: ConversationKind,
    /// Besides whoever asks.
    member_ids: Option<Vec<UserId>>,
    #[serde(borrow)]
    title: Option<Cow<'a, str>>,
    #[serde(borrow)]
    description: Option<Cow<'a, str>>,
    key: Option<CommandId>,
}

impl<'a> Input<'a> for CreateConversation<'a> {
    fn request(self, given: &Given) -> Result<Request, Refusal> {
        let Self { id, kind, member_ids, title, description, key } = self;
        let mut members = fields::users("member_ids", member_ids.unwrap_or_default())?;
        members.retain(|user| *user != given.user);
        let title = title.map(|title| fields::title(&title)).transpose()?;
        let description = description.map(|text| fields::description(&text)).transpose()?;
        let own_id = match kind {
            ConversationKind::Direct => direct_id(given.user, &members, &title, &description)?,
            ConversationKind::Group => group_id(id, &title)?,
        };
        if id.is_some_and(|id| id != own_id) {
            return Err(Refusal::field("id", "of a direct conversation is not chosen"));
        }
        // Asking for the same group again is the same command, also without a key.
        let key = key.or_else(|| id.filter(|_| kind == ConversationKind::Group).map(|id| CommandId(id.0)));
        Ok(command(given, key, Command::CreateConversation { id: own_id, kind, members, title, description }))
    }
}

/// Derived from the two, so that whoever asks first, there is only one.
fn direct_id(
    user: UserId,
    others: &[UserId],
    title: &Option<Box<str>>,
    description: &Option<Box<str>>,
) -> Result<ConversationId, Refusal> {
    let [other] = others else {
        return Err(Refusal::field("member_ids", "of a direct conversation names exactly one other person"));
    };
    if title.is_some() {
        return Err(Refusal::field("title", "is for groups"));
    }
    if description.is_some() {
        return Err(Refusal::field("description", "is for groups"));
    }
    Ok(ConversationId::direct(user, *other))
}

/// Version 7 only: the ids of direct conversations are version 8, and nobody may take one of those for a group.
fn group_id(id: Option<ConversationId>, title: &Option<Box<str>>) -> Result<ConversationId, Refusal> {
    if title.is_none() {
        return Err(Refusal::field("title", "is required"));
    }
    match id {
        Some(id) if id.0.get_version_num() != 7 => Err(Refusal::field("id", "must be a UUID of version 7")),
        Some(id) => Ok(id),
        None => Ok(ConversationId::new()),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UpdateConversation<'a> {
    conversation_id: Option<ConversationId>,
    #[serde(borrow)]
    title: Option<Cow<'a, str>>,
    #[serde(borrow)]
    description: Option<Cow<'a, str>>,
    key: Option<CommandId>,
}

impl<'a> Input<'a> for UpdateConversation<'a> {
    fn request(self, given: &Given) -> Result<Request, Refusal> {
        let conversation_id = fields::conversation(given, self.conversation_id)?;
        let title = self.title.map(|title| fields::title(&title)).transpose()?;
        let description = self.description.map(|text| fields::description(&text)).transpose()?;
        if title.is_none() && description.is_none() {
            return Err(Refusal::field("title", "or description is required"));
        }
        Ok(command(given, self.key, Command::UpdateConversation { conversation_id, title, description }))
    }
}

/// Closes it for everybody.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeleteConversation {
    conversation_id: Option<ConversationId>,
    key: Option<CommandId>,
}

impl Input<'_> for DeleteConversation {
    fn request(self, given: &Given) -> Result<Request, Refusal> {
        let conversation_id = fields::conversation(given, self.conversation_id)?;
        Ok(command(given, self.key, Command::CloseConversation { conversation_id }))
    }
}

/// Removing oneself.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeaveConversation {
    conversation_id: Option<ConversationId>,
    key: Option<CommandId>,
}

impl Input<'_> for LeaveConversation {
    fn request(self, given: &Given) -> Result<Request, Refusal> {
        let conversation_id = fields::conversation(given, self.conversation_id)?;
        Ok(command(given, self.key, Command::RemoveMember { conversation_id, user: given.user }))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Mark {
    conversation_id: Option<ConversationId>,
    seq: i64,
}

impl Mark {
    fn request(self, given: &Given, marks: fn(i64) -> Marks) -> Result<Request, Refusal> {
        let conversation_id = fields::conversation(given, self.conversation_id)?;
        let marks = marks(fields::position("seq", self.seq)?);
        Ok(command(given, None, Command::Mark { conversation_id, marks }))
    }
}

/// Read up to a message, and with that delivered.
#[derive(Deserialize)]
#[serde(transparent)]
pub struct MarkRead(Mark);

impl Input<'_> for MarkRead {
    fn request(self, given: &Given) -> Result<Request, Refusal> {
        self.0.request(given, |seq| Marks { read_seq: Some(seq), delivered_seq: None })
    }
}

#[derive(Deserialize)]
#[serde(transparent)]
pub struct MarkDelivered(Mark);

impl Input<'_> for MarkDelivered {
    fn request(self, given: &Given) -> Result<Request, Refusal> {
        self.0.request(given, |seq| Marks { read_seq: None, delivered_seq: Some(seq) })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListConversations {
    cursor: Option<String>,
    limit: Option<i64>,
}

impl Input<'_> for ListConversations {
    fn request(self, _: &Given) -> Result<Request, Refusal> {
        let after = cursor::conversation(self.cursor.as_deref())?;
        Ok(Request::Query(Query::ListConversations { after, limit: fields::limit(self.limit)? }))
    }
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GetConversation {
    conversation_id: Option<ConversationId>,
}

impl Input<'_> for GetConversation {
    fn request(self, given: &Given) -> Result<Request, Refusal> {
        Ok(Request::Query(Query::GetConversation { conversation: fields::conversation(given, self.conversation_id)? }))
    }
}
