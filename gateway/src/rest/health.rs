//! Whether this gateway lives, is ready for traffic, and reaches what it needs; and its figures. For probes, balancers and
//! Prometheus: not under /v1, without a token, not limited, and bounded in what they cost.

use super::{Answer, json, ok};
use crate::app::App;
use axum::{
    body::Body,
    extract::State,
    http::{HeaderValue, StatusCode, header},
    response::Response,
};
use serde::Serialize;
use shared::{
    bus::BusState,
    clock,
    reply::{Code, Refusal},
    view,
};
use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

/// A database that does not answer within this is away, for a balancer's purposes.
const PING_TIME: Duration = Duration::from_secs(2);
const PING_KEPT: Duration = Duration::from_secs(1);

#[derive(Serialize)]
struct Status {
    status: &'static str,
}

/// The process answers: all that a supervisor needs to know before it restarts it.
pub async fn process() -> Response {
    ok(&Status { status: "ok" })
}

#[derive(Serialize)]
struct Ready {
    status: &'static str,
    postgresql: &'static str,
    bus: &'static str,
    routing: &'static str,
    draining: bool,
}

pub async fn ready(State(app): State<Arc<App>>) -> Response {
    let database = ping(&app).await.is_some();
    let bus = app.batcher.bus_state();
    let routing = app.readiness.routing.load(Ordering::Relaxed);
    let draining = app.readiness.draining.load(Ordering::Relaxed);
    let ready = database && bus == BusState::Up && routing && !draining;
    let up = |part| if part { "up" } else { "down" };
    let answer = Ready {
        status: if ready { "ready" } else { "not_ready" },
        postgresql: up(database),
        bus: match bus {
            BusState::Up => "up",
            BusState::Blocked => "blocked",
            BusState::Away => "down",
        },
        routing: up(routing),
        draining,
    };
    status(ready, &answer)
}

#[derive(Serialize)]
struct Database {
    status: &'static str,
    latency_ms: Option<f64>,
    pool: Pool,
}

#[derive(Serialize)]
struct Pool {
    in_use: usize,
    open: usize,
    max: usize,
}

pub async fn database(State(app): State<Arc<App>>) -> Response {
    let latency = ping(&app).await;
    let (in_use, open, max) = app.store.pool_status();
    let answer = Database {
        status: if latency.is_some() { "ok" } else { "unavailable" },
        latency_ms: latency.map(|latency| latency.as_micros() as f64 / 1000.0),
        pool: Pool { in_use, open, max },
    };
    status(latency.is_some(), &answer)
}

/// Files have no store yet; a balancer must not take that for a fault.
pub async fn storage() -> Response {
    ok(&Status { status: "not_configured" })
}

pub async fn metrics(State(app): State<Arc<App>>) -> Answer {
    let Some(render) = &app.metrics else {
        return Err(Refusal::new(Code::NotFound, "no metrics are recorded").into());
    };
    let mut response = Response::new(Body::from(render()));
    let text = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, text);
    Ok(response)
}

fn status<T: Serialize>(good: bool, answer: &T) -> Response {
    json(if good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, view::json(answer).into())
}

/// How long PostgreSQL took for the smallest question, at most a second ago: however often somebody asks, PostgreSQL is
/// asked once.
async fn ping(app: &App) -> Option<Duration> {
    let mut last = app.readiness.last_ping.lock().await;
    let started = clock::monotonic();
    if let Some((at, latency)) = *last
        && started.duration_since(at) < PING_KEPT
    {
        return latency;
    }
    let latency = match tokio::time::timeout(PING_TIME, app.store.ping()).await {
        Ok(Ok(())) => Some(clock::monotonic().duration_since(started)),
        Ok(Err(error)) => {
            tracing::warn!(%error, "PostgreSQL does not answer a probe");
            None
        }
        Err(_) => {
            tracing::warn!("PostgreSQL does not answer a probe in time");
            None
        }
    };
    *last = Some((clock::monotonic(), latency));
    latency
}
