//! Gateway and worker in one process, with the bus and the routing between them in memory: what `rookery up` runs once
//! its database is there.

use crate::cluster::port::BACKLOG;
use anyhow::{Context, Result};
use gateway::{Gateway, Parts};
use shared::{
    bus::{Bus, local::LocalBus},
    config::Config,
    lifecycle::Stop,
    routing::{Routing, local::LocalRouting},
    store::Store,
};
use std::{net::SocketAddr, sync::Arc, time::Duration};
use worker::Worker;

/// Runs until the soft stop, then drains. `ready` is called once, when the address takes requests.
pub async fn run(config: Config, ready: impl FnOnce(SocketAddr), stop: Stop) -> Result<()> {
    let store = Store::new(&config.store)?;
    store.migrate().await.context("cannot use the database")?;
    store.check().await.context("cannot use the database")?;
    let address = SocketAddr::from((config.http.host, config.http.port));
    let listener = gateway::server::listen(address, BACKLOG).with_context(|| format!("cannot listen on {address}"))?;

    // No role handles durable events yet: the outbox lets them go as soon as the gateways have been told.
    let bus: Arc<dyn Bus> = Arc::new(LocalBus::new(config.worker.partitions, &[]));
    let routing: Arc<dyn Routing> = Arc::new(LocalRouting::new());
    // The worker outlives the gateway: what is in flight when everybody is sent away still gets its answer.
    let worker_stop = Stop::default();
    let worker = Worker::start(store.clone(), bus.clone(), routing.clone(), &config.worker, worker_stop.clone());
    let parts = Parts {
        config,
        store,
        bus,
        routing,
        listener,
        listener_is_shared: false,
        metrics: Some(Box::new(shared::telemetry::metrics)),
    };
    let gateway = Gateway::start(parts, stop.clone())?;
    tokio::select! {
        () = wait_until_joined(&gateway) => ready(gateway.address),
        () = stop.stopped() => {}
    }

    stop.stopped().await;
    gateway.drain().await;
    worker_stop.soft();
    worker.join().await;
    Ok(())
}

/// In one process that takes no time worth telling.
async fn wait_until_joined(gateway: &Gateway) {
    while gateway.app.batcher.gateway().is_none() || gateway.app.epoch.get().is_none() {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
