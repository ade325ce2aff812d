//! Where a native socket begins: `GET /v1/ws`. The handshake is checked here, and who it is where it says so (a header for
//! programs, a one-use ticket for browsers); then the bare socket goes to its shard.

use super::{Answer, Client, bearer};
use crate::{
    app::App,
    session::Session,
    upgrade::{self, Refused, Terms},
};
use axum::{
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use shared::reply::{Code, Refusal};
use std::sync::Arc;

/// The subprotocol's name; a client that offers none speaks it too.
pub const PROTOCOL: &str = "rookery.v1";

pub async fn open(State(app): State<Arc<App>>, client: Client, request: Request) -> Answer {
    if app.readiness.draining.load(std::sync::atomic::Ordering::Relaxed) {
        return Err(Refusal::new(Code::Unavailable, "this gateway is leaving").retry_after(1).into());
    }
    // Before the ticket: a page that may not connect must not use it up.
    let allowed = client.origin_allowed(&app.config.http, request.headers());
    let caller = match (ticket(&request), bearer(request.headers())) {
        _ if !allowed => None,
        (Some(ticket), _) => Some(app.tickets.redeem(ticket).await?),
        (None, Some(token)) => Some(app.tokens.verify(token)?),
        (None, None) => None,
    };
    let terms = Terms { origin: &|_| allowed, protocols: &[PROTOCOL] };
    let shards = app
        .hub
        .shards()
        .cloned()
        .ok_or_else(|| Refusal::new(Code::Unavailable, "sockets are not open yet").retry_after(1))?;
    let opened = upgrade::upgrade(request, &terms, move |socket, early| {
        if shards.adopt(socket, early, Session::new(caller)).is_err() {
            tracing::debug!("a socket came after the shards had ended");
        }
    });
    Ok(opened.unwrap_or_else(refused))
}

/// The handshake's own refusals, as problems like all others.
fn refused(refused: Refused) -> Response {
    let code = match refused.status().as_u16() {
        403 => Code::Forbidden,
        405 => Code::MethodNotAllowed,
        426 => Code::UpgradeRequired,
        _ => Code::Malformed,
    };
    let mut response = super::Problem(Refusal::new(code, refused.detail())).into_response();
    if let Some((name, value)) = refused.header() {
        response.headers_mut().insert(name, value);
    }
    response
}

fn ticket(request: &Request) -> Option<&str> {
    request.uri().query()?.split('&').find_map(|pair| pair.strip_prefix("ticket="))
}
