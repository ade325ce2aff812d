//! Messages: send, edit, delete, read.

use super::{Given, Input, Request, command, cursor, fields, opaque};
use crate::queries::Query;
use serde::{Deserialize, Serialize, de::IgnoredAny};
use serde_json::value::RawValue;
use shared::{
    command::{self, Command},
    domain::{ATTACHMENTS_MAX, CommandId, ConversationId, MENTIONS_MAX, MessageId, MessageKind, PAYLOAD_MAX, UserId},
    reply::{Code, Refusal},
    store::messages::Window,
};
use std::borrow::Cow;

/// The hot path: one pass, the body borrowed from the frame unless it has escapes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SendMessage<'a> {
    conversation_id: Option<ConversationId>,
    /// The same id again is the same message; it is the command's id too.
    id: Option<MessageId>,
    kind: Option<MessageKind>,
    #[serde(borrow)]
    body: Option<Cow<'a, str>>,
    #[serde(borrow)]
    payload: Option<&'a RawValue>,
    attachments: Option<Vec<IgnoredAny>>,
    reply_to: Option<MessageId>,
    mentions: Option<Vec<UserId>>,
}

impl<'a> Input<'a> for SendMessage<'a> {
    fn request(self, given: &Given) -> Result<Request, Refusal> {
        let conversation_id = fields::conversation(given, self.conversation_id)?;
        let attachments = self.attachments.map_or(0, |list| list.len());
        if attachments > ATTACHMENTS_MAX {
            return Err(Refusal::field("attachments", "has more than 10"));
        }
        let implied = if self.payload.is_some() { MessageKind::Encrypted } else { MessageKind::Text };
        let kind = self.kind.unwrap_or(implied);
        if kind == MessageKind::System {
            return Err(Refusal::field("kind", "is for the server alone"));
        }
        if kind == MessageKind::Media || attachments > 0 {
            return Err(Refusal::new(Code::Unsupported, "this server takes no attachments yet"));
        }
        let (body, payload) = content(kind, self.body, self.payload)?;
        let extra = extra(payload, self.mentions.unwrap_or_default())?;
        let id = self.id.or(given.key.map(|key| MessageId(key.0))).unwrap_or_default();
        let send = command::SendMessage { conversation_id, kind, body, extra, reply_to: self.reply_to };
        Ok(Request::Command { id: CommandId(id.0), command: Command::Send(send) })
    }
}

/// Each kind has either a body or a payload.
fn content<'a>(
    kind: MessageKind,
    body: Option<Cow<'_, str>>,
    payload: Option<&'a RawValue>,
) -> Result<(Box<str>, Option<&'a RawValue>), Refusal> {
    if kind != MessageKind::Encrypted {
        if payload.is_some() {
            return Err(Refusal::field("payload", "is for messages of kind encrypted"));
        }
        let body = body.ok_or_else(|| Refusal::field("body", "is required"))?;
        return Ok((fields::body(body)?, None));
    }
    if body.is_some_and(|body| !body.is_empty()) {
        return Err(Refusal::field("body", "is for messages of kind text"));
    }
    let payload = payload.ok_or_else(|| Refusal::field("payload", "is required"))?;
    if !payload.get().starts_with('{') {
        return Err(Refusal::field("payload", "must be an object"));
    }
    match opaque::check(payload.get(), PAYLOAD_MAX) {
        Ok(()) => Ok(("".into(), Some(payload))),
        Err(problem) => Err(Refusal::field("payload", problem)),
    }
}

/// What only some messages have, in the form of `shared::view::Extra`; nothing at all where there is none of it.
fn extra(payload: Option<&RawValue>, mut mentions: Vec<UserId>) -> Result<Option<Box<str>>, Refusal> {
    #[derive(Serialize)]
    struct Extra<'a> {
        #[serde(skip_serializing_if = "Option::is_none")]
        payload: Option<&'a RawValue>,
        #[serde(skip_serializing_if = "<[_]>::is_empty")]
        mentions: &'a [UserId],
    }
    if mentions.len() > MENTIONS_MAX {
        return Err(Refusal::field("mentions", "names more than 50 people"));
    }
    mentions.sort_unstable();
    mentions.dedup();
    if payload.is_none() && mentions.is_empty() {
        return Ok(None);
    }
    let extra = serde_json::to_string(&Extra { payload, mentions: &mentions });
    Ok(Some(extra.expect("cannot fail because it was JSON and ids before").into_boxed_str()))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EditMessage<'a> {
    conversation_id: Option<ConversationId>,
    message_id: Option<MessageId>,
    #[serde(borrow)]
    body: Option<Cow<'a, str>>,
    payload: Option<IgnoredAny>,
    key: Option<CommandId>,
}

impl<'a> Input<'a> for EditMessage<'a> {
    fn request(self, given: &Given) -> Result<Request, Refusal> {
        let conversation_id = fields::conversation(given, self.conversation_id)?;
        let message_id = fields::message(given, self.message_id)?;
        if self.payload.is_some() {
            return Err(Refusal::new(Code::Unsupported, "this server does not edit encrypted messages yet"));
        }
        let body = fields::body(self.body.ok_or_else(|| Refusal::field("body", "is required"))?)?;
        Ok(command(given, self.key, Command::Edit { conversation_id, message_id, body }))
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum DeletedFor {
    Everyone,
    Me,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeleteMessage {
    conversation_id: Option<ConversationId>,
    message_id: Option<MessageId>,
    r#for: Option<DeletedFor>,
    key: Option<CommandId>,
}

impl Input<'_> for DeleteMessage {
    fn request(self, given: &Given) -> Result<Request, Refusal> {
        let conversation_id = fields::conversation(given, self.conversation_id)?;
        let message_id = fields::message(given, self.message_id)?;
        if self.r#for == Some(DeletedFor::Me) {
            return Err(Refusal::new(Code::Unsupported, "this server deletes messages for everyone only, so far"));
        }
        Ok(command(given, self.key, Command::Delete { conversation_id, message_id }))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListMessages {
    conversation_id: Option<ConversationId>,
    before: Option<i64>,
    after: Option<i64>,
    around: Option<i64>,
    limit: Option<i64>,
}

impl Input<'_> for ListMessages {
    fn request(self, given: &Given) -> Result<Request, Refusal> {
        let conversation = fields::conversation(given, self.conversation_id)?;
        let window = match (self.before, self.after, self.around) {
            (None, None, None) => Window::Newest,
            (Some(seq), None, None) => Window::Before(fields::position("before", seq)?),
            (None, Some(seq), None) => Window::After(fields::position("after", seq)?),
            (None, None, Some(seq)) => Window::Around(fields::position("around", seq)?),
            (_, Some(_), _) => return Err(Refusal::field("after", "goes with neither before nor around")),
            _ => return Err(Refusal::field("around", "goes with neither before nor after")),
        };
        Ok(Request::Query(Query::ListMessages { conversation, window, limit: fields::limit(self.limit)? }))
    }
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GetMessage {
    conversation_id: Option<ConversationId>,
    message_id: Option<MessageId>,
}

impl Input<'_> for GetMessage {
    fn request(self, given: &Given) -> Result<Request, Refusal> {
        let message = fields::message(given, self.message_id)?;
        Ok(Request::Query(Query::GetMessage { message, conversation: self.conversation_id.or(given.conversation) }))
    }
}

/// Who has it, and who has read it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListReceipts {
    message_id: Option<MessageId>,
    cursor: Option<String>,
    limit: Option<i64>,
}

impl Input<'_> for ListReceipts {
    fn request(self, given: &Given) -> Result<Request, Refusal> {
        let message = fields::message(given, self.message_id)?;
        let after = cursor::user(self.cursor.as_deref())?;
        Ok(Request::Query(Query::ListReceipts { message, after, limit: fields::limit(self.limit)? }))
    }
}
