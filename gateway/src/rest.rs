//! REST: the endpoint table. One file per noun holds the requests, the handlers and what they may refuse; around all of
//! them stands the envelope (id, limit, panic, headers).
//!
//! A handler takes what it needs ([`Caller`](crate::auth::Caller), [`Client`], [`RequestId`], [`Input`], [`Params`],
//! [`Ids`]) and returns an [`Answer`]; `?` turns a `Refusal` or a `StoreError` into a problem.

mod ask;
mod auth;
mod conversations;
mod envelope;
mod extract;
mod health;
mod limits;
mod messages;
mod problem;
mod socket;
mod sync;
mod users;

pub use envelope::{Client, REQUEST_ID, RequestId};
pub use extract::{Ids, Input, Params, bearer};
pub use problem::{Answer, Problem};

use crate::app::App;
use axum::{
    Router,
    body::Body,
    extract::DefaultBodyLimit,
    http::{HeaderValue, StatusCode, header},
    middleware,
    response::Response,
    routing::{any, delete, get, patch, post, put},
};
use conversations::members;
use serde::Serialize;
use shared::{
    domain::REQUEST_BODY_MAX,
    reply::{Code, Refusal},
    view,
};
use std::sync::Arc;

/// Everything but the sockets. The server puts `ConnectInfo<SocketAddr>` into each request.
pub fn router(app: Arc<App>) -> Router {
    let v1 = Router::new()
        .route("/auth/register", post(auth::register))
        .route("/auth/login", post(auth::login))
        .route("/auth/refresh", post(auth::refresh))
        .route("/auth/logout", post(auth::logout))
        .route("/auth/logout-all", post(auth::logout_all))
        .route("/auth/me", get(auth::me))
        .route("/auth/password", put(auth::password))
        .route("/auth/sessions", get(auth::sessions))
        .route("/auth/sessions/{id}", delete(auth::remove_session))
        .route("/auth/ticket", post(auth::ticket))
        .route("/users", get(users::list))
        .route("/users/{id}", get(users::get))
        .route("/conversations", get(conversations::list).post(conversations::create))
        .route(
            "/conversations/{id}",
            get(conversations::get).patch(conversations::update).delete(conversations::delete),
        )
        .route("/conversations/{id}/members", get(members::list).post(members::add))
        .route("/conversations/{id}/members/{user_id}", patch(members::update).delete(members::remove))
        .route("/conversations/{id}/leave", post(conversations::leave))
        .route("/conversations/{id}/read", put(conversations::read))
        .route("/conversations/{id}/delivered", put(conversations::delivered))
        .route("/conversations/{id}/messages", get(messages::list).post(messages::send))
        .route("/messages/{id}", get(messages::get).patch(messages::edit).delete(messages::delete))
        .route("/messages/{id}/receipts", get(messages::receipts))
        .route("/sync", post(sync::post))
        .route("/limits", get(limits::get))
        .route("/ws", any(socket::open));
    Router::new()
        .nest("/v1", v1)
        .route("/.well-known/jwks.json", get(auth::key_set))
        .route("/health", get(health::process))
        .route("/health/ready", get(health::ready))
        .route("/health/db", get(health::database))
        .route("/health/storage", get(health::storage))
        .route("/metrics", get(health::metrics))
        .fallback(nowhere)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(DefaultBodyLimit::max(REQUEST_BODY_MAX))
        .layer(middleware::from_fn_with_state(app.clone(), envelope::envelope))
        .with_state(app)
}

/// A JSON answer.
pub fn ok<T: Serialize>(value: &T) -> Response {
    json(StatusCode::OK, view::json(value).into())
}

pub fn created<T: Serialize>(value: &T) -> Response {
    json(StatusCode::CREATED, view::json(value).into())
}

pub fn no_content() -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

/// JSON made elsewhere: a command's reply.
pub fn json(status: StatusCode, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// One page of a list; `next` is the cursor of the following one.
#[derive(Serialize)]
pub struct Page<T> {
    pub items: Vec<T>,
    pub next: Option<String>,
}

async fn nowhere() -> Problem {
    Problem(Refusal::new(Code::NotFound, "there is nothing at this address"))
}

async fn method_not_allowed() -> Problem {
    Problem(Refusal::new(Code::MethodNotAllowed, "this address does not take this method"))
}
