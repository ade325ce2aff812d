//! The edge: the only crate that knows HTTP, WebSocket, Socket.IO and a client's JSON.
//!
//! In: shard → session → batcher → bus. Out: inbox → hub → shard. REST goes the same way in and waits for its answer.

pub mod app;
pub mod auth;
pub mod batcher;
mod drain;
pub mod ended;
pub mod epoch;
pub mod hub;
pub mod json;
pub mod limits;
pub mod presence;
pub mod queries;
pub mod refusal;
pub mod requests;
pub mod rest;
pub mod routes;
pub mod server;
pub mod session;
pub mod shard;
pub mod starting;
pub mod upgrade;

use app::{App, Metrics};
use session::Edge;
use shard::Shards;
use shared::{
    bus::Bus,
    config::Config,
    domain::{GatewayId, OUTBOX_PER_SESSION_MAX, OUTBOXES_BYTES_MAX},
    lifecycle::Stop,
    routing::Routing,
    store::Store,
};
use std::{net::SocketAddr, sync::Arc};
use tokio::{net::TcpListener, task::JoinSet};

/// What a gateway is made of.
pub struct Parts {
    pub config: Config,
    pub store: Store,
    pub bus: Arc<dyn Bus>,
    pub routing: Arc<dyn Routing>,
    /// Bound already: by whoever may bind it once for several processes.
    pub listener: TcpListener,
    /// Other gateways accept from the same socket.
    pub listener_is_shared: bool,
    pub metrics: Option<Metrics>,
}

/// A running gateway.
pub struct Gateway {
    pub address: SocketAddr,
    pub app: Arc<App>,
    tasks: JoinSet<()>,
    background: JoinSet<()>,
    shards: Shards<Edge>,
    stop: Stop,
}

impl Gateway {
    /// Serves at once; what it needs and cannot reach yet is waited for, and seen in `/health/ready`.
    pub fn start(parts: Parts, stop: Stop) -> anyhow::Result<Self> {
        let Parts { config, store, bus, routing, listener, listener_is_shared, metrics } = parts;
        let address = listener.local_addr()?;
        let (mut app, words) = App::new(config, store, bus, routing)?;
        app.metrics = metrics;
        let app = Arc::new(app);
        let shards = start_shards(&app)?;
        app.hub.set_shards(shards.clone());

        let hub = app.hub.clone();
        let background = app.batcher.run(Arc::new(move |answers| hub.answers(answers)), &stop);
        let mut tasks = JoinSet::new();
        tasks.spawn(routes::run(app.clone(), GatewayId::new(), words, stop.clone()));
        tasks.spawn(epoch::run(app.clone(), stop.clone()));
        tasks.spawn(limits::run(app.clone(), stop.clone()));
        tasks.spawn(serve(app.clone(), listener, listener_is_shared, shards.clone(), stop.clone()));
        Ok(Self { address, app, tasks, background, shards, stop })
    }

    /// After the soft stop: sends everybody elsewhere, finishes what is in flight, and ends; at the latest at the hard stop
    /// or when the time to drain is over.
    pub async fn drain(mut self) {
        drain::run(&self.app, &self.shards, &self.stop).await;
        self.stop.hard();
        while self.tasks.join_next().await.is_some() {}
        self.background.shutdown().await;
        let shards = self.shards.clone();
        // Joining blocks until the last closing handshake is over.
        let _ = tokio::task::spawn_blocking(move || shards.join()).await;
    }
}

fn start_shards(app: &Arc<App>) -> std::io::Result<Shards<Edge>> {
    let count = if app.config.edge.shards == 0 { app.config.cores } else { app.config.edge.shards };
    let config = shard::Config {
        heartbeat: app.config.edge.heartbeat,
        outbox: OUTBOX_PER_SESSION_MAX,
        outboxes: OUTBOXES_BYTES_MAX,
        ..shard::Config::default()
    };
    let tokio = tokio::runtime::Handle::current();
    Shards::start(count, config, |_| Edge::new(app.clone(), tokio.clone()))
}

async fn serve(app: Arc<App>, listener: TcpListener, shared: bool, shards: Shards<Edge>, stop: Stop) {
    let config = server::Config {
        connections: app.config.edge.connections,
        shared,
        sockets: Arc::new(move || shards.counts().connections),
        drain: app.config.http.drain,
        ..server::Config::default()
    };
    server::serve(listener, rest::router(app), config, stop.soft_token()).await;
}
