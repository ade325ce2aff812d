//! From rows to the objects that clients see: one column list and one reader for each, used by every statement that
//! returns them.

use super::{Result, StoreError};
use crate::{
    domain::{ConversationId, ConversationKind, MessageId, MessageKind, UserId},
    view::{ConversationView, Empty, Extra, MessageView, UserView},
};
use serde_json::value::RawValue;
use tokio_postgres::Row;
use uuid::Uuid;

/// Of `users u`.
pub(crate) const USER_COLUMNS: &str =
    "u.id AS u_id, u.username, u.display_name, u.avatar AS u_avatar, u.bio, u.verified, u.created_at AS u_created_at";

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

/// Of `conversations c`.
pub(crate) const CONVERSATION_COLUMNS: &str = "c.id AS c_id, c.kind AS c_kind, c.title, c.description, c.avatar AS c_avatar, c.visibility, \
     c.settings::text AS settings, c.member_count, c.last_seq, c.last_rev, c.created_at AS c_created_at, c.changed_at, c.closed_at";

pub(crate) fn conversation_view(row: &Row) -> Result<ConversationView> {
    let settings = RawValue::from_string(row.get("settings"));
    Ok(ConversationView {
        id: ConversationId(row.get("c_id")),
        kind: ConversationKind::parse(row.get("c_kind")).unwrap_or(ConversationKind::Group),
        title: row.get("title"),
        description: row.get("description"),
        avatar: row.get("c_avatar"),
        visibility: row.get("visibility"),
        settings: settings.map_err(|error| StoreError::Broken(format!("conversations.settings: {error}")))?,
        member_count: row.get("member_count"),
        seq: row.get("last_seq"),
        rev: row.get("last_rev"),
        created_at: row.get("c_created_at"),
        updated_at: row.get("changed_at"),
        closed_at: row.get("closed_at"),
        last_message: None,
        unread: None,
        me: None,
        members: None,
    })
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
        Some(text) => {
            serde_json::from_str(text).map_err(|error| StoreError::Broken(format!("messages.extra: {error}")))?
        }
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
