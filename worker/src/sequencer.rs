//! The sequencer: gathers batches from all the partitions it serves into one, stores it, hands it over. While one batch
//! commits the next gathers, without a timer: one command when idle, large batches when busy.
//!
//! When PostgreSQL goes away the uncommitted batch is dropped and the places at the queues are closed, so that the
//! batches return in order; then it tries PostgreSQL with backoff before it opens new places.

mod answers;
mod commit;
mod plan;

use crate::{
    Shared,
    consume::{Intake, Taken},
    handover::{Committed, Handover},
};
use shared::{
    lifecycle::{Backoff, Stop},
    store::{Store, StoreError, append::Appender, apply::Applier},
};
use std::{sync::Arc, time::Duration};

/// Commands stored by one transaction at most. Larger batches cost latency and win nothing (docs/performance.md).
const GATHER_MAX: usize = 1024;

pub struct Sequencer {
    shared: Arc<Shared>,
    partitions: Vec<u16>,
}

/// The connections of one sequencer: one appends, one applies everything else.
pub(crate) struct Connections {
    pub appender: Appender,
    pub applier: Applier,
}

impl Connections {
    async fn open(store: &Store) -> Result<Self, StoreError> {
        Ok(Self { appender: Appender::connect(store).await?, applier: Applier::connect(store).await? })
    }
}

impl Sequencer {
    pub fn new(shared: Arc<Shared>, partitions: Vec<u16>) -> Self {
        Self { shared, partitions }
    }

    pub async fn run(self, stop: Stop) {
        let mut backoff = Backoff::default();
        while !stop.is_stopped() {
            match self.serve(&stop, &mut backoff).await {
                Ok(()) => return,
                Err(error) => {
                    metrics::counter!("rookery_sequencer_failures_total").increment(1);
                    tracing::warn!(%error, "commands cannot be stored; trying PostgreSQL again");
                    stop.sleep(backoff.next()).await;
                }
            }
        }
    }

    /// Until a stop (Ok) or until PostgreSQL fails.
    async fn serve(&self, stop: &Stop, backoff: &mut Backoff) -> Result<(), StoreError> {
        let mut connections = Connections::open(&self.shared.store).await?;
        let handover = Handover::start(self.shared.clone());
        let mut intake = Intake::start(&self.shared.bus, &self.partitions, stop);
        while let Some(first) = intake.next(stop).await {
            let taken = gather(first, &mut intake);
            let begun = shared::clock::monotonic();
            let mut committed = commit::store(&self.shared, &mut connections, &taken).await?;
            backoff.reset();
            metrics::histogram!("rookery_sequencer_commit_seconds").record(begun.elapsed().as_secs_f64());
            crate::failpoint::pass("after_commit");
            let last = committed.len().saturating_sub(1);
            for (number, part) in committed.drain(..).enumerate() {
                // Acknowledged when the last part has been handed over.
                let acks = if number == last { acks(&taken) } else { vec![] };
                handover.give(Committed { acks, ..part }).await;
            }
        }
        handover.finish(Duration::from_secs(5)).await;
        Ok(())
    }
}

/// What is here already, up to the bound.
fn gather(first: Taken, intake: &mut Intake) -> Vec<Taken> {
    let mut commands = first.delivery.batch.commands.len();
    let mut taken = vec![first];
    while commands < GATHER_MAX {
        let Some(next) = intake.more() else { break };
        commands += next.delivery.batch.commands.len();
        taken.push(next);
    }
    metrics::histogram!("rookery_sequencer_batch_commands").record(commands as f64);
    taken
}

/// One acknowledgement for each partition: everything up to its last batch.
fn acks(taken: &[Taken]) -> Vec<(Arc<dyn shared::bus::Acks>, u64)> {
    let mut acks: Vec<(u16, Arc<dyn shared::bus::Acks>, u64)> = vec![];
    for batch in taken {
        match acks.iter_mut().find(|(partition, ..)| *partition == batch.partition) {
            Some((_, by, tag)) => (*by, *tag) = (batch.acks.clone(), batch.delivery.tag),
            None => acks.push((batch.partition, batch.acks.clone(), batch.delivery.tag)),
        }
    }
    acks.into_iter().map(|(_, by, tag)| (by, tag)).collect()
}
