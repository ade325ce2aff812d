//! One's own sessions: which there are, and how they end.

use super::{cookie_for, cookie_token, refresh_refused};
use crate::{
    app::App,
    auth::{Caller, RefreshToken},
    rest::{Answer, Client, Ids, Page, Problem, bearer, no_content, ok},
};
use axum::{
    extract::State,
    http::{HeaderMap, header},
    response::Response,
};
use chrono::{DateTime, Utc};
use serde::Serialize;
use shared::{
    clock,
    domain::{SessionId, UserId},
    reply::{Code, Refusal},
    store::{StoreError, sessions::Ending},
};
use std::sync::Arc;

#[derive(Serialize)]
struct Session {
    id: SessionId,
    device: String,
    address: String,
    #[serde(with = "clock::json")]
    created_at: DateTime<Utc>,
    #[serde(with = "clock::json")]
    last_used_at: DateTime<Utc>,
    #[serde(with = "clock::json")]
    refresh_issued_at: DateTime<Utc>,
    #[serde(with = "clock::json")]
    refresh_expires_at: DateTime<Utc>,
    /// The one that asks.
    current: bool,
}

/// All at once: there are at most 100.
pub async fn list(State(app): State<Arc<App>>, caller: Caller) -> Answer {
    let rows = app.store.list_sessions(caller.user).await?;
    let items = rows.into_iter().map(|row| Session {
        id: row.id,
        device: row.device,
        address: row.address,
        created_at: row.created_at,
        last_used_at: row.last_used_at,
        refresh_issued_at: row.refresh_issued_at,
        refresh_expires_at: row.refresh_expires_at,
        current: row.id == caller.session,
    });
    Ok(ok(&Page { items: items.collect(), next: None }))
}

pub async fn remove(State(app): State<Arc<App>>, caller: Caller, Ids(session): Ids<SessionId>) -> Answer {
    match end(&app, caller.user, Ending::One(session)).await? {
        0 => Err(Refusal::not_found().into()),
        _ => Ok(no_content()),
    }
}

/// Of the session that asks: by its access token, or by the refresh cookie where that has run out.
pub async fn logout(State(app): State<Arc<App>>, client: Client, headers: HeaderMap) -> Answer {
    let (user, session) = match bearer(&headers).map(|token| app.tokens.verify(token)) {
        Some(Ok(caller)) => (caller.user, caller.session),
        refused => match cookie_token(&app, &client, &headers)? {
            Some(token) => session_of(&app, token).await?,
            None => return Err(refused.and_then(Result::err).unwrap_or_else(needs_token).into()),
        },
    };
    end(&app, user, Ending::One(session)).await?;
    Ok(signed_out(&app, &client))
}

pub async fn logout_all(State(app): State<Arc<App>>, client: Client, caller: Caller) -> Answer {
    end(&app, caller.user, Ending::All).await?;
    Ok(signed_out(&app, &client))
}

async fn session_of(app: &App, token: &str) -> Result<(UserId, SessionId), Problem> {
    let token = RefreshToken::parse(token).ok_or_else(refresh_refused)?;
    app.store.get_session_of_token(token.hash()).await.map_err(|error| match error {
        StoreError::NotFound => refresh_refused().into(),
        error => error.into(),
    })
}

async fn end(app: &App, user: UserId, ending: Ending) -> Result<usize, Problem> {
    let ended = app.store.update_sessions_ended(user, ending, "logout").await?;
    app.sessions_ended(&ended);
    metrics::counter!("rookery_sessions_ended_total", "why" => "logout").increment(ended.len() as u64);
    tracing::info!(user.id = %user, sessions = ended.len(), "logged out");
    Ok(ended.len())
}

fn signed_out(app: &App, client: &Client) -> Response {
    let mut response = no_content();
    response.headers_mut().append(header::SET_COOKIE, cookie_for(app, client).clear());
    response
}

fn needs_token() -> Refusal {
    Refusal::new(Code::Unauthorized, "a valid access token is needed")
}
