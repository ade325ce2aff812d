//! From rows to the objects that clients see: one column list and one reader for each, used by every statement that
//! returns them.

use super::{Result, StoreError};
use crate::{
    domain::{ConversationId, MessageId, MessageKind, UserId},
    view::{Empty, Extra, MessageView, UserView},
};
use tokio_postgres::Row;
use uuid::Uuid;

/// Of `users u`.
pub(crate) const USER_COLUMNS: &str = "u.id AS u_id, u.username, u.display_name, u.avatar AS u_avatar, u.bio, u.verified, u.created_at AS u_created_at";

pub(crate) fn user_view(row: &Row) -> UserView {
    UserView {
        id: UserId(row.get("u_id")),
        username: row.get("username"),
        display_name: row.get("display_name"),
        avatar: row.get("u_avatar"),
        bio: row.get("bio"),
        verified: row.get("verified"),
        created_at: row.get("u_created_at"),
        online: None,
        last_seen: None,
    }
}

/// Of `messages m`.
pub(crate) const MESSAGE_COLUMNS: &str = "m.conversation_id, m.seq, m.id AS m_id, m.sender_id, m.kind AS m_kind, m.body, m.extra::text AS extra, m.reply_to, \
     m.rev, m.created_at AS m_created_at, m.edited_at, m.deleted_at";

pub(crate) fn message_kind(text: &str) -> MessageKind {
    match text {
        "media" => MessageKind::Media,
        "encrypted" => MessageKind::Encrypted,
        "system" => MessageKind::System,
        _ => MessageKind::Text,
    }
}

pub(crate) fn message_view(row: &Row) -> Result<MessageView> {
    let extra: Extra = match row.get::<_, Option<&str>>("extra") {
        Some(text) => serde_json::from_str(text).map_err(|error| StoreError::Broken(format!("messages.extra: {error}")))?,
        None => Extra::default(),
    };
    Ok(MessageView {
        id: MessageId(row.get("m_id")),
        conversation_id: ConversationId(row.get("conversation_id")),
        seq: row.get("seq"),
        sender_id: UserId(row.get("sender_id")),
        kind: message_kind(row.get("m_kind")),
        body: row.get("body"),
        payload: extra.payload,
        attachments: extra.attachments,
        rev: row.get("rev"),
        reply_to: row.get::<_, Option<Uuid>>("reply_to").map(MessageId),
        thread_root: None,
        forwarded_from: extra.forwarded_from,
        mentions: extra.mentions,
        reactions: Empty {},
        pinned: false,
        edited_at: row.get("edited_at"),
        deleted_at: row.get("deleted_at"),
        created_at: row.get("m_created_at"),
        status: None,
    })
}
