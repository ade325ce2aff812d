//! A gateway, or a worker, as a process of its own would be: its own threads and its own connections to PostgreSQL.
//! Killing it ends whatever it was doing.

use super::{Answer, Handshake, Person, Socket, http, until};
use gateway::{Gateway, Parts, app::App};
use serde_json::Value;
use shared::{
    bus::{Bus, local::LocalBus},
    config::Config,
    lifecycle::Stop,
    routing::local::LocalRouting,
    store::Store,
    telemetry,
};
use std::{net::SocketAddr, sync::Arc};
use tokio::{runtime::Runtime, task::JoinHandle};
use worker::Worker;

/// What gateways and workers of one world have in common.
#[derive(Clone)]
pub struct Middle {
    pub config: Config,
    pub bus: Arc<LocalBus>,
    pub routing: LocalRouting,
}

fn threads() -> Option<Runtime> {
    Some(tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("threads"))
}

pub struct Edge {
    pub address: SocketAddr,
    pub app: Arc<App>,
    routing: LocalRouting,
    stop: Stop,
    gateway: Option<Gateway>,
    runtime: Option<Runtime>,
}

impl Edge {
    pub async fn start(middle: &Middle) -> Self {
        let (runtime, stop) = (threads(), Stop::default());
        let (middle, stopping) = (middle.clone(), stop.clone());
        let routing = middle.routing.clone();
        let start = async move {
            let store = Store::new(&middle.config.store).expect("a pool");
            let listener = gateway::server::listen(([127, 0, 0, 1], 0).into(), 256).expect("a port");
            let (bus, routing) = (middle.bus as Arc<dyn Bus>, Arc::new(middle.routing));
            let parts = Parts {
                config: middle.config,
                store,
                bus,
                routing,
                listener,
                listener_is_shared: false,
                metrics: Some(Box::new(telemetry::metrics)),
            };
            Gateway::start(parts, stopping).expect("a valid configuration")
        };
        let gateway = runtime.as_ref().expect("threads").spawn(start).await.expect("a gateway");
        let (address, app) = (gateway.address, gateway.app.clone());
        until("the gateway has joined", async || app.batcher.gateway().is_some() && app.epoch.get().is_some()).await;
        Self { address, app, routing, stop, gateway: Some(gateway), runtime }
    }

    /// One REST call; `person`: whose token.
    pub async fn call(&self, method: &str, path: &str, person: Option<&Person>, body: Option<Value>) -> Answer {
        let head: Vec<String> = person.iter().map(|person| format!("Authorization: Bearer {}", person.token)).collect();
        self.raw(method, path, &head, body).await
    }

    /// `head` are whole header lines.
    pub async fn raw(&self, method: &str, path: &str, head: &[String], body: Option<Value>) -> Answer {
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        http::request(self.address, method, path, head, &body).await.expect("an answer")
    }

    /// A socket's command as the REST call that is the same.
    pub async fn rest(&self, person: &Person, cmd: &str, data: Value) -> Answer {
        let (method, path, body) = http::rest_of(cmd, &data);
        self.call(method, &path, Some(person), body).await
    }

    pub async fn open(&self) -> Socket {
        self.open_with(Handshake::default()).await
    }

    pub async fn open_with(&self, handshake: Handshake) -> Socket {
        Socket::open(self.address, handshake).await.unwrap_or_else(|answer| panic!("no socket: {answer:?}"))
    }

    /// A socket that has said hello.
    pub async fn connect(&self, person: &Person) -> Socket {
        let mut socket = self.open().await;
        socket.hello(person).await;
        socket
    }

    /// SIGTERM: begins to drain; the task ends with the gateway.
    pub fn drain(&mut self) -> JoinHandle<()> {
        self.stop.soft();
        let gateway = self.gateway.take().expect("it runs");
        self.runtime.as_ref().expect("it runs").spawn(gateway.drain())
    }

    /// SIGKILL: its sockets end, its lease ends, whatever it held is gone.
    pub fn kill(mut self) {
        self.end();
        if let Some(me) = self.app.batcher.gateway() {
            self.routing.lose_inbox(me.id);
        }
    }

    fn end(&mut self) {
        self.stop.hard();
        drop(self.gateway.take());
        if let Some(shards) = self.app.hub.shards() {
            shards.stop(gateway::session::close::COME_BACK);
        }
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Drop for Edge {
    fn drop(&mut self) {
        self.end();
    }
}

pub struct Labour {
    stop: Stop,
    worker: Option<Worker>,
    runtime: Option<Runtime>,
}

impl Labour {
    pub async fn start(middle: &Middle) -> Self {
        let (runtime, stop) = (threads(), Stop::default());
        let (middle, stopping) = (middle.clone(), stop.clone());
        let start = async move {
            let store = Store::new(&middle.config.store).expect("a pool");
            let bus = middle.bus as Arc<dyn Bus>;
            Worker::start(store, bus, Arc::new(middle.routing), &middle.config.worker, stopping)
        };
        let worker = runtime.as_ref().expect("threads").spawn(start).await.expect("a worker");
        Self { stop, worker: Some(worker), runtime }
    }

    /// SIGTERM: finishes what it has begun.
    pub async fn stop(mut self) {
        self.stop.soft();
        let worker = self.worker.take().expect("it runs");
        self.runtime.as_ref().expect("it runs").spawn(worker.join()).await.expect("an orderly end");
    }
}

/// SIGKILL.
impl Drop for Labour {
    fn drop(&mut self) {
        drop(self.worker.take());
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
