//! Editing and deleting a message.

use super::{Act, Effect, Stop};
use bytes::Bytes;
use serde_json::json;
use shared::{
    domain::{MessageId, MessageKind, Permission},
    event::EventName,
    reply::{Code, Refusal},
    store::apply::{Changed, MessageRow},
    view::{MessageView, json as bytes},
};

impl Act<'_, '_> {
    /// The message, if the actor may see it.
    async fn message(&self, id: MessageId) -> Result<MessageRow, Stop> {
        let message = self.tx.lock_message(self.conversation.id, id).await?;
        message.filter(|message| message.seq > self.from_seq).ok_or_else(|| Refusal::not_found().into())
    }

    /// The message as it is now, as answer and event alike. The log points to it and never holds its text.
    async fn say(&self, name: EventName, seq: i64, changed: &Changed) -> Result<Effect, Stop> {
        let data = answer(&self.tx.get_message_view(self.conversation.id, seq).await?);
        Ok(Effect {
            json: data.clone(),
            groups: vec![(self.to_members(changed), vec![self.event(name, changed, data)])],
            durable: vec![self.pointer(changed)],
            message: Some(seq),
            ..Effect::default()
        })
    }

    async fn log(&self, name: EventName, id: MessageId, seq: i64) -> Result<Changed, Stop> {
        let data = json!({ "message_id": id });
        Ok(self.tx.append_change(self.conversation.id, name, self.actor, Some(seq), &data, 0).await?)
    }
}

/// Only the sender, and only while it is there. The same text again changes nothing.
pub async fn edit(act: &Act<'_, '_>, id: MessageId, body: &str) -> Result<Effect, Stop> {
    let message = act.message(id).await?;
    if message.sender != act.actor {
        return Err(Refusal::forbidden("only the sender edits a message").into());
    }
    act.demand(Permission::EditOwn, "your role does not allow editing")?;
    if message.deleted {
        return Err(Refusal::new(Code::Closed, "the message was deleted").into());
    }
    if message.kind != MessageKind::Text {
        return Err(Refusal::new(Code::Unsupported, "only text messages can be edited").into());
    }
    if message.body == body {
        return unchanged(act, message.seq).await;
    }
    let changed = act.log(EventName::MessageEdited, id, message.seq).await?;
    act.tx.update_message(act.conversation.id, id, message.seq, body, changed.rev, changed.at).await?;
    act.say(EventName::MessageEdited, message.seq, &changed).await
}

/// For everyone: the sender, or a moderator. What is deleted stays deleted; again changes nothing.
pub async fn delete(act: &Act<'_, '_>, id: MessageId) -> Result<Effect, Stop> {
    let message = act.message(id).await?;
    let permission = if message.sender == act.actor { Permission::DeleteOwn } else { Permission::DeleteOthers };
    act.demand(permission, "only the sender or a moderator deletes a message for everyone")?;
    if message.deleted {
        return unchanged(act, message.seq).await;
    }
    let changed = act.log(EventName::MessageDeleted, id, message.seq).await?;
    act.tx.delete_message(act.conversation.id, id, message.seq, changed.rev, changed.at).await?;
    act.say(EventName::MessageDeleted, message.seq, &changed).await
}

async fn unchanged(act: &Act<'_, '_>, seq: i64) -> Result<Effect, Stop> {
    let json = answer(&act.tx.get_message_view(act.conversation.id, seq).await?);
    Ok(Effect { json, message: Some(seq), ..Effect::default() })
}

pub fn answer(message: &MessageView) -> Bytes {
    bytes(&json!({ "message": message }))
}
