//! What the fields of several requests have in common: texts, positions, lists of people, ids that may stand in the path.

use super::Given;
use shared::{
    domain::{
        BODY_MAX, ConversationId, DESCRIPTION_MAX_CHARS, MEMBERS_ADDED_AT_ONCE_MAX, MessageId, PAGE_DEFAULT, PAGE_MAX,
        TITLE_MAX_CHARS, UserId,
    },
    reply::Refusal,
};
use std::borrow::Cow;

/// The largest whole number that every JSON reader keeps exactly (RFC 8259 §6): no position is beyond it.
const POSITION_MAX: i64 = (1 << 53) - 1;

pub fn body(text: Cow<'_, str>) -> Result<Box<str>, Refusal> {
    if text.len() > BODY_MAX {
        return Err(Refusal::field("body", "has more than 16 KiB"));
    }
    if text.trim().is_empty() {
        return Err(Refusal::field("body", "must not be empty"));
    }
    clean("body", text.into_owned())
}

pub fn title(text: &str) -> Result<Box<str>, Refusal> {
    let text = text.trim();
    if text.is_empty() {
        return Err(Refusal::field("title", "must not be empty"));
    }
    if text.chars().count() > TITLE_MAX_CHARS {
        return Err(Refusal::field("title", "has more than 128 characters"));
    }
    clean("title", text.to_owned())
}

pub fn description(text: &str) -> Result<Box<str>, Refusal> {
    if text.chars().count() > DESCRIPTION_MAX_CHARS {
        return Err(Refusal::field("description", "has more than 2,048 characters"));
    }
    clean("description", text.to_owned())
}

/// PostgreSQL's text has no NUL. JSON that came through `json::parse` has none either; this is where it is promised.
fn clean(name: &'static str, text: String) -> Result<Box<str>, Refusal> {
    if text.contains('\0') {
        return Err(Refusal::field(name, "must not contain NUL"));
    }
    Ok(text.into_boxed_str())
}

/// A `seq`, a `rev`, a `urev`.
pub fn position(name: &'static str, value: i64) -> Result<i64, Refusal> {
    if (0..=POSITION_MAX).contains(&value) {
        Ok(value)
    } else {
        Err(Refusal::field(name, "must be a whole number from 0 to 2^53 - 1"))
    }
}

pub fn limit(value: Option<i64>) -> Result<usize, Refusal> {
    match value.map(usize::try_from) {
        None => Ok(PAGE_DEFAULT),
        Some(Ok(limit)) if (1..=PAGE_MAX).contains(&limit) => Ok(limit),
        Some(_) => Err(Refusal::field("limit", "must be a whole number from 1 to 100")),
    }
}

/// Each person once.
pub fn users(name: &'static str, mut users: Vec<UserId>) -> Result<Vec<UserId>, Refusal> {
    if users.len() > MEMBERS_ADDED_AT_ONCE_MAX {
        return Err(Refusal::field(name, "names more than 100 people"));
    }
    users.sort_unstable();
    users.dedup();
    Ok(users)
}

pub fn conversation(given: &Given, named: Option<ConversationId>) -> Result<ConversationId, Refusal> {
    one("conversation_id", given.conversation, named)
}

pub fn message(given: &Given, named: Option<MessageId>) -> Result<MessageId, Refusal> {
    one("message_id", given.message, named)
}

pub fn member(given: &Given, named: Option<UserId>) -> Result<UserId, Refusal> {
    one("user_id", given.member, named)
}

/// From the path or from the data; in both it must be the same.
fn one<T: PartialEq>(name: &'static str, given: Option<T>, named: Option<T>) -> Result<T, Refusal> {
    match (given, named) {
        (Some(given), Some(named)) if given != named => Err(Refusal::field(name, "is another than in the path")),
        (Some(id), _) | (None, Some(id)) => Ok(id),
        (None, None) => Err(Refusal::field(name, "is required")),
    }
}
