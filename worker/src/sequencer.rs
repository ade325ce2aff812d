//! The sequencer: gathers batches from all the partitions it serves into one, stores it, hands it over. While one batch
//! commits the next gathers, without a timer: one command when idle, large batches when busy.
//!
//! When PostgreSQL goes away the uncommitted batch is dropped and the places at the queues are closed, so that the
//! batches return in order; then it tries PostgreSQL with backoff before it opens new places. So a worker that cannot
//! store anything keeps nothing from those who can.

mod answers;
mod commit;
mod plan;

use crate::{
    Shared,
    consume::{Intake, Taken},
    failpoint,
    handover::{Committed, Handover},
    in_time,
    outage::Missing,
};
use shared::{
    bus::Acks,
    clock,
    domain::COMMAND_DEADLINE,
    lifecycle::{Backoff, Stop},
    store::{Store, StoreError, append::Appender, apply::Applier},
};
use std::{sync::Arc, time::Duration};

/// Commands stored by one transaction at most. Larger batches cost latency and win nothing (docs/performance.md).
const GATHER_MAX: usize = 1024;
/// PostgreSQL is tried this often at least: nobody is served until it answers, which it must within the other time.
const PAUSE_MAX: Duration = Duration::from_millis(500);
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// How long the first commands wait for the worker's lock.
const LOCK_WAIT: Duration = Duration::from_secs(2);
/// What is committed is handed on for so long at most after a stop; after a failure the next connection waits so long for
/// it, so that events leave in order.
const FINISH_MAX: Duration = Duration::from_secs(5);
const FINISH_AFTER_FAILURE: Duration = Duration::from_secs(1);
/// A batch that was taken longer ago is dropped with its place: only in a process that was stopped. Everybody who asked
/// has been told `timeout` long ago, and in the end `executed` would not know its copies any more.
const STALE: Duration = COMMAND_DEADLINE.saturating_mul(4);

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
        in_time(CONNECT_MAX, async {
            Ok(Self { appender: Appender::connect(store).await?, applier: Applier::connect(store).await? })
        })
        .await
    }

    /// Resolves when one of them has ended. Cancel safe.
    async fn closed(&mut self) {
        tokio::select! {
            () = self.appender.closed() => {}
            () = self.applier.closed() => {}
        }
    }
}

/// What is kept from one try to the next.
#[derive(Default)]
struct Tries<'a> {
    backoff: Backoff,
    missing: Option<Missing<'a>>,
}

impl Sequencer {
    pub fn new(shared: Arc<Shared>, partitions: Vec<u16>) -> Self {
        Self { shared, partitions }
    }

    pub async fn run(self, stop: Stop) {
        let mut tries = Tries::default();
        while !stop.is_stopped() {
            match self.serve(&stop, &mut tries).await {
                Ok(()) => return,
                Err(error) => {
                    metrics::counter!("rookery_sequencer_failures_total").increment(1);
                    if self.shared.store_outage.missed(&mut tries.missing) {
                        tracing::warn!(%error, "commands cannot be stored; trying PostgreSQL until they can");
                    } else {
                        tracing::debug!(%error, "commands cannot be stored");
                    }
                    stop.sleep(tries.backoff.next().min(PAUSE_MAX)).await;
                }
            }
        }
    }

    /// Until a stop (Ok) or until PostgreSQL fails.
    async fn serve<'a>(&'a self, stop: &Stop, tries: &mut Tries<'a>) -> Result<(), StoreError> {
        let mut connections = Connections::open(&self.shared.store).await?;
        // It may have been restored while it was away.
        self.shared.fanout.audiences().forget_all();
        self.shared.life.wait(LOCK_WAIT).await;
        let handover = Handover::start(self.shared.clone());
        let mut intake = Intake::start(&self.shared, &self.partitions, stop);
        let served = self.store_all(&mut connections, &mut intake, &handover, stop, tries).await;
        if served.is_ok() {
            // Acknowledged before the places are closed, so that nothing comes to others again.
            handover.finish(FINISH_MAX).await;
            intake.close().await;
        } else {
            intake.close().await;
            handover.finish(FINISH_AFTER_FAILURE).await;
        }
        served
    }

    async fn store_all<'a>(
        &'a self,
        connections: &mut Connections,
        intake: &mut Intake,
        handover: &Handover,
        stop: &Stop,
        tries: &mut Tries<'a>,
    ) -> Result<(), StoreError> {
        while let Some(first) = next(connections, intake, stop).await? {
            let mut taken = gather(first, intake);
            if failpoint::is_mutant("answer_before_commit") {
                acknowledge(&taken).await;
            }
            let begun = clock::monotonic();
            let mut committed = vec![];
            while let Err(error) = commit::store(&self.shared, connections, &taken, &mut committed).await {
                // What was stored before is said, to those who are live; acknowledged is none of it.
                for part in committed.drain(..) {
                    handover.give(part).await?;
                }
                if !failpoint::is_mutant("nack_requeue") {
                    return Err(error);
                }
                *connections = reopened(&self.shared.store, stop).await?;
                taken = behind(taken, intake);
            }
            tries.backoff.reset();
            if self.shared.store_outage.had(&mut tries.missing) {
                tracing::info!("commands are stored again");
            }
            metrics::histogram!("rookery_sequencer_commit_seconds").record(begun.elapsed().as_secs_f64());
            failpoint::pass("after_commit");
            // Acknowledged when the last part has been handed over.
            let last = committed.pop().unwrap_or_default();
            committed.push(Committed { acks: acks(&taken), ..last });
            for part in committed {
                handover.give(part).await?;
            }
        }
        Ok(())
    }
}

/// The next batch; `None` after a stop. An error as soon as a connection has ended, also while nothing comes: what comes
/// then goes to those who can store it.
async fn next(connections: &mut Connections, intake: &mut Intake, stop: &Stop) -> Result<Option<Taken>, StoreError> {
    let taken = tokio::select! {
        biased;
        taken = intake.next(stop) => taken,
        () = connections.closed(), if !failpoint::is_mutant("nack_requeue") => return Err(StoreError::Unavailable("the connection has ended".to_owned())),
    };
    match taken {
        Some(taken) if taken.at.elapsed() > STALE => {
            Err(StoreError::Unavailable("this process was stopped for long".to_owned()))
        }
        taken => Ok(taken),
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
fn acks(taken: &[Taken]) -> Vec<(Arc<dyn Acks>, u64)> {
    let mut acks: Vec<(u16, Arc<dyn Acks>, u64)> = vec![];
    for batch in taken {
        match acks.iter_mut().find(|(partition, ..)| *partition == batch.partition) {
            Some((_, by, tag)) => (*by, *tag) = (batch.acks.clone(), batch.delivery.tag),
            None => acks.push((batch.partition, batch.acks.clone(), batch.delivery.tag)),
        }
    }
    acks.into_iter().map(|(_, by, tag)| (by, tag)).collect()
}

/// For a mutant: done, before it is.
async fn acknowledge(taken: &[Taken]) {
    for (acks, tag) in acks(taken) {
        let _ = acks.ack(tag).await;
    }
}

/// For a mutant: keeps its places while it waits for PostgreSQL.
async fn reopened(store: &Store, stop: &Stop) -> Result<Connections, StoreError> {
    loop {
        match Connections::open(store).await {
            Err(_) if !stop.is_stopped() => stop.sleep(Duration::from_millis(100)).await,
            opened => return opened,
        }
    }
}

/// For a mutant: what was not stored, put back behind what has come meanwhile.
fn behind(taken: Vec<Taken>, intake: &mut Intake) -> Vec<Taken> {
    std::iter::from_fn(|| intake.more()).chain(taken).collect()
}
