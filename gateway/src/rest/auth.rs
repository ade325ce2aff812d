//! `/auth`: accounts, logins, and the sessions they begin and end. All of this writes to PostgreSQL here and now: it is
//! the one thing that gateways write (ARCHITECTURE.md, "What is always true", 7).

mod sessions;

pub use sessions::{list as sessions, logout, logout_all, remove as remove_session};

use super::{Answer, Client, Input, Problem, created, no_content, ok};
use crate::{
    app::App,
    auth::{Caller, RefreshCookie, RefreshToken, is_localhost, refresh_cookie},
    limits::{Rule, Subject},
};
use axum::{
    extract::State,
    http::{HeaderMap, HeaderValue, header},
    response::Response,
};
use serde::{Deserialize, Serialize};
use shared::{
    domain::{
        DEVICE_MAX_CHARS, DISPLAY_NAME_MAX_CHARS, EMAIL_MAX, PASSWORD_MAX, REFRESH_GRACE, SessionId, UserId,
        normal_email, normal_username, password_problem,
    },
    reply::{Code, Refusal},
    store::{
        StoreError,
        sessions::{NewSession, Rotated, Rotation},
        users::{EMAIL_TAKEN, LoginKey, NewUser, USERNAME_TAKEN},
    },
    view::UserView,
};
use std::sync::Arc;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Register {
    username: String,
    email: String,
    password: String,
    display_name: Option<String>,
    device: Option<String>,
}

pub async fn register(State(app): State<Arc<App>>, client: Client, Input(input): Input<Register>) -> Answer {
    app.limits.check_shared(Rule::RegisterPerAddress, Subject::Address(client.address)).await?;
    let username_key = normal_username(&input.username).map_err(|problem| Refusal::field("username", problem))?;
    let email_key = normal_email(&input.email).map_err(|problem| Refusal::field("email", problem))?;
    if let Some(problem) = password_problem(&input.password, &input.username, &input.email) {
        return Err(Refusal::field("password", problem).into());
    }
    let display_name = input.display_name.as_deref().map_or(input.username.as_str(), str::trim);
    check_text("display_name", display_name, 1, DISPLAY_NAME_MAX_CHARS)?;
    let device = input.device.unwrap_or_default();
    check_text("device", &device, 0, DEVICE_MAX_CHARS)?;
    app.store.get_user_conflict(&username_key, &email_key).await.map_err(taken)?;

    let password_hash = app.passwords.hash(input.password).await?;
    let token = app.refresh_tokens.first();
    let user = NewUser {
        id: UserId::new(),
        username: &input.username,
        username_key: &username_key,
        email: &input.email,
        email_key: &email_key,
        password_hash: &password_hash,
        display_name,
    };
    let address = client.address.to_string();
    let session = new_session(&app, user.id, &device, &address, &token);
    let view = app.store.insert_user(&user, &session).await.map_err(taken)?;
    tracing::info!(user.id = %view.id, session.id = %session.id, "registered");
    Ok(signed_in(&app, &client, created(&grant(&app, view.id, session.id, &token, Some(view))), &token))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Login {
    /// Username or email; either of the other two may stand in its place.
    login: Option<String>,
    username: Option<String>,
    email: Option<String>,
    password: String,
    device: Option<String>,
}

/// Wrong name and wrong password take the same way, the same time and get the same answer.
pub async fn login(State(app): State<Arc<App>>, client: Client, Input(input): Input<Login>) -> Answer {
    app.limits.check_shared(Rule::LoginPerAddress, Subject::Address(client.address)).await?;
    let mut names = [input.login, input.username, input.email].into_iter().flatten();
    let name = match (names.next(), names.next()) {
        (Some(name), None) if !name.is_empty() => name.to_lowercase(),
        (None, _) | (Some(_), None) => return Err(Refusal::field("login", "is required").into()),
        _ => return Err(Refusal::field("login", "is given twice").into()),
    };
    if name.len() > EMAIL_MAX {
        return Err(Refusal::field("login", "must have at most 254 bytes").into());
    }
    check_password_length("password", &input.password)?;
    let device = input.device.unwrap_or_default();
    check_text("device", &device, 0, DEVICE_MAX_CHARS)?;
    app.limits.check_shared(Rule::LoginPerAccount, Subject::Account(&name)).await?;

    let key = if name.contains('@') { LoginKey::Email(&name) } else { LoginKey::Username(&name) };
    let credentials = match app.store.get_credentials(key).await {
        Ok(credentials) => Some(credentials),
        Err(StoreError::NotFound) => None,
        Err(error) => return Err(error.into()),
    };
    let hash = credentials.as_ref().map(|credentials| credentials.password_hash.as_str());
    let right = app.passwords.verify(input.password, hash).await?;
    let credentials = credentials.filter(|credentials| right && !credentials.disabled).ok_or_else(wrong_credentials)?;

    let token = app.refresh_tokens.first();
    let address = client.address.to_string();
    let session = new_session(&app, credentials.user, &device, &address, &token);
    let ended = app.store.insert_session(&session, &credentials.password_hash).await.map_err(|error| match error {
        StoreError::NotFound => wrong_credentials().into(),
        error => Problem::from(error),
    })?;
    app.sessions_ended(&ended);
    let view = app.store.get_user(credentials.user).await?;
    tracing::info!(user.id = %view.id, session.id = %session.id, "logged in");
    Ok(signed_in(&app, &client, ok(&grant(&app, view.id, session.id, &token, Some(view))), &token))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Refresh {
    refresh_token: Option<String>,
    /// The device the session was begun on; another one ends it.
    device: Option<String>,
}

pub async fn refresh(
    State(app): State<Arc<App>>,
    client: Client,
    headers: HeaderMap,
    Input(input): Input<Refresh>,
) -> Answer {
    app.limits.check_shared(Rule::RefreshPerAddress, Subject::Address(client.address)).await?;
    let text = match &input.refresh_token {
        Some(token) => token,
        None => cookie_token(&app, &client, &headers)?.ok_or_else(refresh_refused)?,
    };
    let token = RefreshToken::parse(text).ok_or_else(refresh_refused)?;
    let successor = app.refresh_tokens.successor(&token);
    let rotation = Rotation {
        hash: token.hash(),
        successor: successor.hash(),
        device: input.device.as_deref(),
        address: &client.address.to_string(),
        life: app.refresh_tokens.life,
        grace: REFRESH_GRACE,
    };
    match app.store.update_refresh_token(&rotation).await? {
        Rotated::Done { user, session } => {
            Ok(signed_in(&app, &client, ok(&grant(&app, user, session, &successor, None)), &successor))
        }
        Rotated::Refused => Err(refresh_refused().into()),
        Rotated::Ended { session, why } => {
            tracing::warn!(session.id = %session, why, "a refresh token was misused: its session is ended");
            metrics::counter!("rookery_sessions_ended_total", "why" => why).increment(1);
            app.sessions_ended(&[session]);
            Err(refresh_refused().into())
        }
    }
}

#[derive(Serialize)]
struct Account {
    #[serde(flatten)]
    user: UserView,
    email: String,
}

pub async fn me(State(app): State<Arc<App>>, caller: Caller) -> Answer {
    let (user, email) = app.store.get_account(caller.user).await?;
    Ok(ok(&Account { user, email }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewPassword {
    current: String,
    new: String,
}

/// Every other session ends: whoever else knew the old password is out.
pub async fn password(State(app): State<Arc<App>>, caller: Caller, Input(input): Input<NewPassword>) -> Answer {
    app.limits.check_shared(Rule::LoginPerAccount, Subject::User(caller.user)).await?;
    check_password_length("current", &input.current)?;
    let (credentials, username, email) = app.store.get_own_credentials(caller.user).await?;
    if let Some(problem) = password_problem(&input.new, &username, &email) {
        return Err(Refusal::field("new", problem).into());
    }
    if !app.passwords.verify(input.current, Some(&credentials.password_hash)).await? {
        return Err(wrong_credentials().into());
    }
    let new = app.passwords.hash(input.new).await?;
    let changed = app.store.update_password(caller.user, &credentials.password_hash, &new, caller.session).await;
    let ended = changed.map_err(|error| match error {
        StoreError::NotFound => wrong_credentials().into(),
        error => Problem::from(error),
    })?;
    app.sessions_ended(&ended);
    tracing::info!(user.id = %caller.user, sessions = ended.len(), "password changed");
    Ok(no_content())
}

#[derive(Serialize)]
struct Ticket {
    ticket: String,
}

pub async fn ticket(State(app): State<Arc<App>>, caller: Caller) -> Answer {
    Ok(ok(&Ticket { ticket: app.tickets.issue(caller) }))
}

#[derive(Serialize)]
struct KeySet<'a> {
    keys: &'a [crate::auth::PublicKey],
}

pub async fn key_set(State(app): State<Arc<App>>) -> Response {
    let mut response = ok(&KeySet { keys: app.tokens.public_keys() });
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=300"));
    response
}

/// What a login gives.
#[derive(Serialize)]
struct Grant {
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<UserView>,
    access_token: String,
    /// Seconds.
    expires_in: u64,
    refresh_token: String,
}

fn grant(app: &App, user: UserId, session: SessionId, token: &RefreshToken, view: Option<UserView>) -> Grant {
    let access = app.tokens.issue(user, session);
    Grant {
        user: view,
        access_token: access.token,
        expires_in: access.expires_in.as_secs(),
        refresh_token: token.text(),
    }
}

fn signed_in(app: &App, client: &Client, mut response: Response, token: &RefreshToken) -> Response {
    let cookie = cookie_for(app, client).set(&token.text(), app.refresh_tokens.life);
    response.headers_mut().append(header::SET_COOKIE, cookie);
    response
}

fn cookie_for(app: &App, client: &Client) -> RefreshCookie {
    RefreshCookie { same_site: app.config.auth.cookie_same_site, localhost: is_localhost(&client.host) && !client.tls }
}

/// The cookie's token, if a page that may use it sent it.
fn cookie_token<'a>(app: &App, client: &Client, headers: &'a HeaderMap) -> Result<Option<&'a str>, Refusal> {
    match refresh_cookie(headers) {
        Some(_) if !client.cookie_allowed(&app.config.http, headers) => {
            Err(Refusal::forbidden("this page's origin may not use the refresh cookie"))
        }
        token => Ok(token),
    }
}

fn new_session<'a>(app: &App, user: UserId, device: &'a str, address: &'a str, token: &RefreshToken) -> NewSession<'a> {
    let life = app.refresh_tokens.life;
    NewSession { id: SessionId::new(), user, device, address, token_hash: token.hash(), token_life: life }
}

/// Before anything is computed from it: hashing a megabyte would be somebody's way to our cores.
fn check_password_length(field: &'static str, password: &str) -> Result<(), Refusal> {
    match password.len() {
        0 => Err(Refusal::field(field, "is required")),
        1..=PASSWORD_MAX => Ok(()),
        _ => Err(Refusal::field(field, "must have at most 1,024 bytes")),
    }
}

fn check_text(field: &'static str, text: &str, min: usize, max: usize) -> Result<(), Refusal> {
    let chars = text.chars().count();
    if chars < min {
        return Err(Refusal::field(field, "must not be empty"));
    }
    if chars > max {
        return Err(Refusal::field(field, format!("must have at most {max} characters")));
    }
    if text.chars().any(char::is_control) {
        return Err(Refusal::field(field, "must not contain control characters"));
    }
    Ok(())
}

fn wrong_credentials() -> Refusal {
    Refusal::new(Code::WrongCredentials, "name and password do not belong together")
}

fn refresh_refused() -> Refusal {
    Refusal::new(Code::Unauthorized, "the refresh token is not valid, or not any more")
}

fn taken(error: StoreError) -> Problem {
    let field = match &error {
        StoreError::Conflict(constraint) if constraint == USERNAME_TAKEN => "username",
        StoreError::Conflict(constraint) if constraint == EMAIL_TAKEN => "email",
        _ => return error.into(),
    };
    let mut refusal = Refusal::field(field, "is taken already");
    refusal.code = Code::Conflict;
    refusal.into()
}
