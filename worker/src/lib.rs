//! The worker: everything that somebody else must see is decided, stored and handed on here.
//!
//! `consume` takes batches from the bus, `sequencer` stores them one transaction at a time, `apply` says what each
//! command does, `handover` tells the gateways and the bus, `relay` does that for workers that died before they could,
//! `sweep` announces whom a dead gateway has left behind, `receipts` and `housekeeping` are what can wait.

mod apply;
mod consume;
mod failpoint;
mod handover;
mod housekeeping;
mod outage;
mod receipts;
mod relay;
mod sequencer;
mod sweep;

use shared::{
    bus::Bus,
    config::WorkerConfig,
    fanout::Fanout,
    lifecycle::{Stop, supervise},
    routing::Routing,
    store::{Store, StoreError},
};
use std::{convert::Infallible, sync::Arc, time::Duration};
use tokio::task::JoinSet;

/// What all roles of one worker share.
pub(crate) struct Shared {
    pub store: Store,
    pub bus: Arc<dyn Bus>,
    pub fanout: Arc<Fanout>,
    pub life: relay::life::Life,
    pub places: consume::Places,
    pub bus_outage: outage::Outage,
    pub store_outage: outage::Outage,
    pub handed_on: handover::HandedOn,
    pub receipts: receipts::Receipts,
}

/// A running worker.
pub struct Worker {
    shared: Arc<Shared>,
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
        let sequencers = config.sequencers.min(usize::from(config.partitions));
        let shared = Arc::new(Shared {
            fanout: Arc::new(Fanout::new(store.clone(), routing)),
            store,
            bus,
            life: relay::life::Life::default(),
            places: consume::Places::new(config.partitions, sequencers),
            bus_outage: outage::Outage::default(),
            store_outage: outage::Outage::default(),
            handed_on: handover::HandedOn::default(),
            receipts: receipts::Receipts::default(),
        });
        // What serves the sequencers ends after them: until then others must not take this worker for dead.
        let ended = Stop::default();
        let mut tasks = JoinSet::new();
        tasks.spawn(serve(shared.clone(), sequencers, stop.clone(), ended.clone()));
        keep(&mut tasks, "share", &shared, &stop, consume::share::run);
        keep(&mut tasks, "life", &shared, &ended, relay::life::hold);
        keep(&mut tasks, "relay", &shared, &ended, relay::run);
        keep(&mut tasks, "receipts", &shared, &ended, receipts::run);
        keep(&mut tasks, "sweep", &shared, &ended, sweep::run);
        keep(&mut tasks, "housekeeping", &shared, &ended, housekeeping::run);
        Self { shared, tasks }
    }

    /// The partitions whose commands come to this worker now.
    pub fn partitions(&self) -> Vec<u16> {
        self.shared.places.active().into_iter().map(|(partition, _)| partition).collect()
    }

    /// Gives one of them to the next in line, as it does by itself where it has more than its share.
    pub fn give_one_up(&self) -> Option<u16> {
        self.shared.places.give_one_up(0)
    }

    /// Waits until everything has ended after a stop: what was taken is stored, handed on and acknowledged.
    pub async fn join(mut self) {
        while self.tasks.join_next().await.is_some() {}
    }
}

/// Runs the sequencers until the stop, and then says that they have ended.
async fn serve(shared: Arc<Shared>, sequencers: usize, stop: Stop, ended: Stop) {
    let mut tasks = JoinSet::new();
    for number in 0..sequencers {
        let (shared, stop) = (shared.clone(), stop.clone());
        tasks.spawn(async move {
            let make = || {
                let sequencer = sequencer::Sequencer::new(shared.clone(), shared.places.of_sequencer(number));
                done(sequencer.run(stop.clone()))
            };
            supervise("sequencer", &stop, make).await;
        });
    }
    while tasks.join_next().await.is_some() {}
    // Left behind, these rows would be relayed by others as if nobody had handed them on.
    if let Err(error) = relay::tidy(&shared).await {
        tracing::debug!(%error, "rows that are done are left to the relay of another worker");
    }
    ended.soft();
}

/// A task that is started again should it panic.
fn keep<F>(
    tasks: &mut JoinSet<()>,
    name: &'static str,
    shared: &Arc<Shared>,
    stop: &Stop,
    run: fn(Arc<Shared>, Stop) -> F,
) where
    F: Future<Output = ()> + Send + 'static,
{
    let (shared, stop) = (shared.clone(), stop.clone());
    tasks.spawn(async move { supervise(name, &stop, || done(run(shared.clone(), stop.clone()))).await });
}

/// What PostgreSQL answers, if it does so in time: a network that swallows everything says nothing for very long.
pub(crate) async fn in_time<T>(
    at_most: Duration,
    asking: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    let silent = |_| Err(StoreError::Unavailable("no answer in time".to_owned()));
    tokio::time::timeout(at_most, asking).await.unwrap_or_else(silent)
}

async fn done(task: impl Future<Output = ()>) -> Result<(), Infallible> {
    task.await;
    Ok(())
}
