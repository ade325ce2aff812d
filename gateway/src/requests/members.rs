//! Members: add, remove, give a role, read.

use super::{Given, Input, Request, command, cursor, fields};
use crate::queries::Query;
use serde::Deserialize;
use shared::{
    command::Command,
    domain::{CommandId, ConversationId, Role, UserId},
    reply::Refusal,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AddMembers {
    conversation_id: Option<ConversationId>,
    user_ids: Vec<UserId>,
    key: Option<CommandId>,
}

impl Input<'_> for AddMembers {
    fn request(self, given: &Given) -> Result<Request, Refusal> {
        let conversation_id = fields::conversation(given, self.conversation_id)?;
        let users = fields::users("user_ids", self.user_ids)?;
        if users.is_empty() {
            return Err(Refusal::field("user_ids", "names nobody"));
        }
        Ok(command(given, self.key, Command::AddMembers { conversation_id, users }))
    }
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RemoveMember {
    conversation_id: Option<ConversationId>,
    user_id: Option<UserId>,
    key: Option<CommandId>,
}

impl Input<'_> for RemoveMember {
    fn request(self, given: &Given) -> Result<Request, Refusal> {
        let conversation_id = fields::conversation(given, self.conversation_id)?;
        let user = fields::member(given, self.user_id)?;
        Ok(command(given, self.key, Command::RemoveMember { conversation_id, user }))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetRole {
    conversation_id: Option<ConversationId>,
    user_id: Option<UserId>,
    role: Role,
    key: Option<CommandId>,
}

impl Input<'_> for SetRole {
    fn request(self, given: &Given) -> Result<Request, Refusal> {
        let conversation_id = fields::conversation(given, self.conversation_id)?;
        let user = fields::member(given, self.user_id)?;
        Ok(command(given, self.key, Command::SetRole { conversation_id, user, role: self.role }))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListMembers {
    conversation_id: Option<ConversationId>,
    cursor: Option<String>,
    limit: Option<i64>,
}

impl Input<'_> for ListMembers {
    fn request(self, given: &Given) -> Result<Request, Refusal> {
        let conversation = fields::conversation(given, self.conversation_id)?;
        let after = cursor::user(self.cursor.as_deref())?;
        Ok(Request::Query(Query::ListMembers { conversation, after, limit: fields::limit(self.limit)? }))
    }
}
