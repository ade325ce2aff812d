//! `/users`: who else is here.

use super::{Answer, Ids, Page, Params, ok};
use crate::{app::App, auth::Caller};
use axum::extract::State;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Deserialize;
use shared::{
    domain::{EMAIL_MAX, PAGE_DEFAULT, PAGE_MAX, UserId},
    reply::Refusal,
    view::UserView,
};
use std::sync::Arc;
use uuid::Uuid;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Find {
    /// The beginning of a username, a display name or an email.
    #[serde(default)]
    q: String,
    /// At most 100, separated by commas; nothing else then counts.
    ids: Option<String>,
    cursor: Option<String>,
    limit: Option<usize>,
}

pub async fn list(State(app): State<Arc<App>>, _: Caller, Params(find): Params<Find>) -> Answer {
    if let Some(ids) = &find.ids {
        let items = app.store.list_users_by_id(&parse_ids(ids)?).await?;
        return Ok(ok(&Page { items, next: None }));
    }
    if find.q.len() > EMAIL_MAX || find.q.contains('\0') {
        return Err(Refusal::field("q", "must have at most 254 bytes").into());
    }
    let limit = find.limit.unwrap_or(PAGE_DEFAULT);
    if !(1..=PAGE_MAX).contains(&limit) {
        return Err(Refusal::field("limit", "must be from 1 to 100").into());
    }
    let after = find.cursor.as_deref().map(parse_cursor).transpose()?.unwrap_or_default();
    let mut found = app.store.list_users(&find.q, &after, limit + 1).await?;
    let more = found.len() > limit;
    found.truncate(limit);
    let next = found.last().filter(|_| more).map(|(_, key)| URL_SAFE_NO_PAD.encode(key));
    let items: Vec<UserView> = found.into_iter().map(|(user, _)| user).collect();
    Ok(ok(&Page { items, next }))
}

pub async fn get(State(app): State<Arc<App>>, _: Caller, Ids(user): Ids<UserId>) -> Answer {
    Ok(ok(&app.store.get_user(user).await?))
}

fn parse_ids(text: &str) -> Result<Vec<UserId>, Refusal> {
    let ids: Result<Vec<UserId>, _> = text
        .split(',')
        .filter(|id| !id.is_empty())
        .take(PAGE_MAX + 1)
        .map(|id| Uuid::try_parse(id).map(UserId))
        .collect();
    match ids {
        Ok(ids) if ids.len() <= PAGE_MAX => Ok(ids),
        Ok(_) => Err(Refusal::field("ids", "must be at most 100")),
        Err(_) => Err(Refusal::field("ids", "must be ids, separated by commas")),
    }
}

fn parse_cursor(text: &str) -> Result<String, Refusal> {
    let key = URL_SAFE_NO_PAD.decode(text).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    key.filter(|key| !key.contains('\0')).ok_or_else(|| Refusal::field("cursor", "must be the `next` of a page"))
}
