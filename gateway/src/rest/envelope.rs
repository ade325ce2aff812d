//! What is around every request: its id, its client, its limit, its span, a panic's end, the headers that browsers obey,
//! and its figures.

mod client;
mod cors;

pub use client::Client;

use super::Problem;
use crate::{
    app::App,
    limits::{Rule, Subject},
};
use axum::{
    extract::{MatchedPath, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use futures_util::FutureExt;
use shared::{
    clock,
    reply::{Code, Refusal},
};
use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};
use tracing::Instrument;
use uuid::Uuid;

pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const REQUEST_ID_MAX: usize = 64;
/// For any answer: a body that comes as slowly as it may, then a PostgreSQL that says nothing.
const ANSWER_TIME: Duration = Duration::from_secs(40);

/// One id from the client's request through bus and worker back.
#[derive(Clone, Debug)]
pub struct RequestId(pub Arc<str>);

impl RequestId {
    /// The client's own where it is sane, a new one otherwise.
    pub fn of(headers: &HeaderMap) -> Self {
        let sane = |text: &&str| {
            (1..=REQUEST_ID_MAX).contains(&text.len())
                && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b':'))
        };
        match headers.get(REQUEST_ID).and_then(|value| value.to_str().ok()).filter(sane) {
            Some(text) => Self(text.into()),
            None => Self(Uuid::now_v7().to_string().into()),
        }
    }
}

pub async fn envelope(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    let started = clock::monotonic();
    let id = RequestId::of(request.headers());
    let client = Client::of_request(&app.config.http, request.extensions(), request.headers());
    let route =
        request.extensions().get::<MatchedPath>().map_or_else(|| "none".into(), |path| path.as_str().to_owned());
    let method = method_name(request.method());
    // The path without its query: a ticket may stand in that.
    let span = tracing::info_span!("request", request.id = %id.0, method, path = %request.uri().path());
    let access = cors::Access::of(&app.config.http, request.headers());
    request.extensions_mut().insert(id.clone());
    request.extensions_mut().insert(client.clone());

    let mut response = if cors::is_preflight(&request) {
        cors::preflight()
    } else {
        answer(&app, &client, &route, request, next).instrument(span.clone()).await
    };
    let headers = response.headers_mut();
    access.write(headers);
    guard(headers, client.tls);
    if let Ok(value) = HeaderValue::from_str(&id.0) {
        headers.insert(REQUEST_ID, value);
    }
    let elapsed = clock::monotonic().duration_since(started);
    let status = response.status();
    span.in_scope(|| tracing::debug!(status = status.as_u16(), elapsed_us = elapsed.as_micros() as u64, "answered"));
    let labels = [("method", method.to_owned()), ("route", route), ("status", status.as_str().to_owned())];
    metrics::counter!("rookery_http_requests_total", &labels).increment(1);
    metrics::histogram!("rookery_http_request_seconds", &labels[..2]).record(elapsed.as_secs_f64());
    response
}

async fn answer(app: &App, client: &Client, route: &str, request: Request, next: Next) -> Response {
    // Probes come from who decides whether this gateway lives; they must not share a limit with anybody.
    let probe = route == "/metrics" || route == "/health" || route.starts_with("/health/");
    if !probe && let Err(refusal) = app.limits.check(Rule::RequestsPerAddress, Subject::Address(client.address)) {
        return Problem(refusal).into_response();
    }
    let answer = tokio::time::timeout(ANSWER_TIME, AssertUnwindSafe(next.run(request)).catch_unwind());
    match answer.await {
        Ok(Ok(response)) => response,
        Err(_) => {
            tracing::warn!("a request has no answer in time");
            let refusal = Refusal::new(Code::Timeout, "no answer in time; the outcome is unknown");
            Problem(refusal).into_response()
        }
        Ok(Err(_)) => {
            // The panic's own words are on the log already, by the process's hook.
            tracing::error!("a handler panicked");
            metrics::counter!("rookery_panics_total").increment(1);
            Problem(Refusal::new(Code::Internal, "something went wrong on our side")).into_response()
        }
    }
}

/// Only what is not there yet: an endpoint that serves pages or files knows better.
fn guard(headers: &mut HeaderMap, tls: bool) {
    let mut set = |name: HeaderName, value: &'static str| {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    };
    set(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'");
    set(header::REFERRER_POLICY, "no-referrer");
    set(header::CACHE_CONTROL, "no-store");
    if tls {
        set(header::STRICT_TRANSPORT_SECURITY, "max-age=31536000");
    }
}

/// For labels: a client may invent methods, our metrics may not.
fn method_name(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::{Router, body::Body, middleware, routing::get};
    use shared::{
        bus::local::LocalBus,
        config::{Config, Environment},
        routing::local::LocalRouting,
        store::Store,
    };
    use tower::ServiceExt;

    #[test]
    fn a_sane_request_id_is_kept() {
        let of = |value: &str| {
            let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
            RequestId::of(&HeaderMap::from_iter([(REQUEST_ID, value)])).0.to_string()
        };
        assert_eq!(of("abc-123_X.y:z"), "abc-123_X.y:z");
        for bad in ["", "a b", "a\"b", "ä", &"x".repeat(65), "{}", "a\tb"] {
            assert_ne!(of(bad), bad);
        }
        assert_eq!(RequestId::of(&HeaderMap::new()).0.len(), 36);
    }

    #[tokio::test]
    async fn a_panic_ends_one_request_and_says_nothing() {
        let env = Environment::of([
            ("JWT_SECRET", "a secret that only tests use, of more than 32 bytes"),
            ("DATABASE_URL", "postgres://nobody@127.0.0.1:1/none"),
        ]);
        let config = Config::read(&env).unwrap();
        let store = Store::new(&config.store).unwrap();
        let bus = Arc::new(LocalBus::new(1, &[]));
        let (app, _) = App::new(config, store, bus, Arc::new(LocalRouting::new())).unwrap();
        async fn panics() -> &'static str {
            panic!("a secret")
        }
        let router =
            Router::new().route("/", get(panics)).layer(middleware::from_fn_with_state(Arc::new(app), envelope));
        for _ in 0..2 {
            let request = Request::get("/").header("x-request-id", "r1").body(Body::empty()).unwrap();
            let response = router.clone().oneshot(request).await.unwrap();
            assert_eq!(response.status(), 500);
            assert_eq!(response.headers()["x-request-id"], "r1");
            let body = axum::body::to_bytes(response.into_body(), 4096).await.unwrap();
            let problem: serde_json::Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(problem["code"], "internal");
            assert!(!String::from_utf8_lossy(&body).contains("secret"));
        }
    }
}
