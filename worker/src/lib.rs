//! The worker: everything that somebody else must see is decided, stored and handed on here.
//!
//! `consume` takes batches from the bus, `sequencer` stores them one transaction at a time, `apply` says what each
//! command does, `handover` tells the gateways and the bus, `relay` does that for workers that died before they could,
//! `receipts` and `housekeeping` are what can wait.

mod apply;
mod consume;
pub mod failpoint;
mod handover;
mod housekeeping;
mod receipts;
mod relay;
mod sequencer;

use shared::{
    bus::Bus,
    config::WorkerConfig,
    fanout::Fanout,
    lifecycle::{Backoff, Stop},
    routing::Routing,
    store::{Store, outbox::WorkerLock},
};
use std::sync::Arc;
use tokio::task::JoinSet;

/// What all roles of one worker share.
pub(crate) struct Shared {
    pub store: Store,
    pub bus: Arc<dyn Bus>,
    pub fanout: Arc<Fanout>,
    /// The key of this worker's advisory lock, and the owner of its outbox rows.
    pub key: i32,
    pub handed_on: handover::HandedOn,
    pub receipts: receipts::Receipts,
}

/// A running worker.
pub struct Worker {
    tasks: JoinSet<()>,
}

impl Worker {
    /// Starts at once, in any order with the rest: it waits with backoff for PostgreSQL and for the bus.
    pub fn start(
        store: Store,
        bus: Arc<dyn Bus>,
        routing: Arc<dyn Routing>,
        config: &WorkerConfig,
        stop: Stop,
    ) -> Self {
        let fanout = Arc::new(Fanout::new(store.clone(), routing));
        let shared = Arc::new(Shared {
            store,
            bus,
            fanout,
            key: key(),
            handed_on: handover::HandedOn::default(),
            receipts: receipts::Receipts::default(),
        });
        let mut tasks = JoinSet::new();
        let sequencers = config.sequencers.min(usize::from(config.partitions));
        for number in 0..sequencers {
            let partitions = (0..config.partitions).filter(|p| usize::from(*p) % sequencers == number).collect();
            tasks.spawn(sequencer::Sequencer::new(shared.clone(), partitions).run(stop.clone()));
        }
        tasks.spawn(relay::run(shared.clone(), stop.clone()));
        tasks.spawn(receipts::run(shared.clone(), stop.clone()));
        tasks.spawn(housekeeping::run(shared.clone(), stop.clone()));
        tasks.spawn(hold_lock(shared, stop));
        Self { tasks }
    }

    /// Waits until everything has ended after a stop.
    pub async fn join(mut self) {
        while self.tasks.join_next().await.is_some() {}
    }
}

/// A positive number that no living worker has: random is enough, a collision only delays a takeover by seconds.
fn key() -> i32 {
    let id = uuid::Uuid::now_v7().as_u128();
    (id as u32 & 0x7fff_ffff) as i32
}

/// Holds this worker's advisory lock, again after every loss of the connection. While it is not held, others may take
/// over this worker's outbox rows: they would say `resync` where an event was said, and nothing is lost.
async fn hold_lock(shared: Arc<Shared>, stop: Stop) {
    let mut backoff = Backoff::default();
    while !stop.is_stopped() {
        match WorkerLock::acquire(&shared.store, shared.key).await {
            Ok(lock) => {
                backoff.reset();
                while !lock.is_closed() && !stop.is_stopped() {
                    stop.sleep(std::time::Duration::from_millis(500)).await;
                }
            }
            Err(error) => {
                tracing::debug!(%error, "the worker's lock is not held");
                stop.sleep(backoff.next()).await;
            }
        }
    }
}
