//! Before a gateway can serve: it lives, it is not ready, and everybody is told to come again, in place of waiting on a
//! connection that nobody takes. Only on a listener of its own: on a shared one the others serve meanwhile.

use crate::{
    rest::{Problem, json, ok},
    server,
};
use axum::{
    Router,
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::get,
};
use serde::Serialize;
use shared::reply::{Code, Refusal};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

const DETAIL: &str = "this gateway is starting";
/// Seconds.
const RETRY_AFTER: u32 = 1;
/// For a request that is not whole yet when the serving begins.
const DRAIN: Duration = Duration::from_secs(1);

#[derive(Serialize)]
struct Status {
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'static str>,
}

/// Until `over`. At most so many connections at once.
pub async fn serve(listener: TcpListener, connections: usize, over: CancellationToken) {
    let router = Router::new()
        .route("/health", get(async || ok(&Status { status: "ok", detail: None })))
        .route("/health/ready", get(not_ready))
        .fallback(not_yet);
    let config = server::Config { connections, drain: DRAIN, ..server::Config::default() };
    server::serve(listener, router, config, over).await;
}

/// What is missing is told on the probe's port, which not everybody reaches.
async fn not_ready() -> Response {
    let answer = Status { status: "not_ready", detail: Some(DETAIL) };
    json(StatusCode::SERVICE_UNAVAILABLE, shared::view::json(&answer).into())
}

async fn not_yet() -> Response {
    Problem(Refusal::new(Code::Unavailable, DETAIL).retry_after(RETRY_AFTER)).into_response()
}
