//! The objects that clients see, as `../shared/API.md` and the OpenAPI document describe them: one form for REST
//! answers, replies and events. What differs per viewer (`me`, `unread`, `status`, `online`) is optional and only ever
//! filled in answers to that viewer; events are made once for everybody and never hold it.

use crate::{
    clock,
    domain::{ConversationId, ConversationKind, MessageId, MessageKind, Role, UserId},
};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

#[derive(Clone, Debug, Serialize)]
pub struct UserView {
    pub id: UserId,
    pub username: String,
    pub display_name: String,
    pub avatar: Option<String>,
    pub bio: String,
    pub verified: bool,
    #[serde(with = "clock::json")]
    pub created_at: DateTime<Utc>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub online: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "clock::json_option::serialize")]
    pub last_seen: Option<DateTime<Utc>>,
}

#[derive(Clone, Debug, Serialize)]
pub struct MemberView {
    pub user: UserView,
    pub role: Role,
    pub read_seq: i64,
    pub delivered_seq: i64,
    #[serde(with = "clock::json")]
    pub joined_at: DateTime<Utc>,
}

/// What only the viewer has of a conversation.
#[derive(Clone, Debug, Serialize)]
pub struct MeView {
    pub role: Role,
    pub read_seq: i64,
    pub delivered_seq: i64,
    pub marked_unread: bool,
    pub pinned: bool,
    #[serde(serialize_with = "clock::json_option::serialize")]
    pub muted_until: Option<DateTime<Utc>>,
    pub archived: bool,
}

#[derive(Clone, Debug, Serialize)]
pub struct ConversationView {
    pub id: ConversationId,
    pub kind: ConversationKind,
    pub title: Option<String>,
    pub description: String,
    pub avatar: Option<String>,
    pub visibility: String,
    pub settings: Box<RawValue>,
    pub member_count: i32,
    pub seq: i64,
    pub rev: i64,
    #[serde(with = "clock::json")]
    pub created_at: DateTime<Utc>,
    #[serde(with = "clock::json")]
    pub updated_at: DateTime<Utc>,
    /// Since when nothing can be said in it any more; it can still be read.
    #[serde(serialize_with = "clock::json_option::serialize")]
    pub closed_at: Option<DateTime<Utc>>,
    /// Per viewer: the last message he may see, his unread count (to 100), his own settings.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_message: Option<MessageView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unread: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub me: Option<MeView>,
    /// The first ten members; `GET …/members` has all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub members: Option<Vec<MemberView>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    Sent,
    Delivered,
    Read,
}

/// `extra` of a message: what only some messages have. Stored as it is validated at the gateway.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Extra {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<Box<RawValue>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attachments: Option<Box<RawValue>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mentions: Vec<UserId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forwarded_from: Option<Box<RawValue>>,
}

#[derive(Clone, Debug, Serialize)]
pub struct MessageView {
    pub id: MessageId,
    pub conversation_id: ConversationId,
    pub seq: i64,
    pub sender_id: UserId,
    pub kind: MessageKind,
    pub body: Box<str>,
    pub payload: Option<Box<RawValue>>,
    #[serde(serialize_with = "list_or_empty")]
    pub attachments: Option<Box<RawValue>>,
    /// The last change this state contains: a change with a `rev` up to it is already in it.
    pub rev: i64,
    pub reply_to: Option<MessageId>,
    pub thread_root: Option<MessageId>,
    pub forwarded_from: Option<Box<RawValue>>,
    pub mentions: Vec<UserId>,
    pub reactions: Empty,
    pub pinned: bool,
    #[serde(serialize_with = "clock::json_option::serialize")]
    pub edited_at: Option<DateTime<Utc>>,
    #[serde(serialize_with = "clock::json_option::serialize")]
    pub deleted_at: Option<DateTime<Utc>>,
    #[serde(with = "clock::json")]
    pub created_at: DateTime<Utc>,
    /// To the sender only, from the members' marks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<Status>,
}

fn list_or_empty<S: serde::Serializer>(list: &Option<Box<RawValue>>, to: S) -> Result<S::Ok, S::Error> {
    match list {
        Some(list) => list.serialize(to),
        None => to.collect_seq(std::iter::empty::<()>()),
    }
}

/// `{}`: an object that nothing is in yet.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Empty {}

/// JSON of anything of ours. These structures hold no maps with other keys than strings and no failing serializers.
pub fn json<T: Serialize>(value: &T) -> Bytes {
    Bytes::from(serde_json::to_vec(value).expect("cannot fail because our views serialize without errors"))
}
