//! Takes batches from the partitions of one sequencer: a task for each partition passes what its consumer gets on to
//! the sequencer. Every worker has a place at every queue, and stands by where another is active (`share` says who gives
//! one up).
//!
//! A place can be lost at any time, with the connection or the broker. What it had then goes, in order, to whoever is
//! next, perhaps while it is still being stored here: each copy finds what the other has stored, and the order is that of
//! the queue for both of them. So nothing here is kept from being stored twice; the database does that.

mod places;
pub mod share;

pub use places::Places;

use crate::{Shared, failpoint, outage::Missing};
use shared::{
    bus::{Acks, BusLost, BusState, CommandConsumer, Delivery},
    clock,
    lifecycle::{Backoff, Stop},
};
use std::{
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
};

/// Batches that wait for the sequencer, beyond those it holds: when it is full the consumers stop taking, and the
/// queues fill where their limit is watched.
const WAITING_MAX: usize = 64;
/// Who gives up a place waits so long at most until all that came over it is stored, handed on and acknowledged.
const FINISH_MAX: Duration = Duration::from_secs(5);

/// A batch with the way to acknowledge it.
pub struct Taken {
    pub delivery: Delivery,
    pub partition: u16,
    pub acks: Arc<dyn Acks>,
    pub at: Instant,
}

pub struct Intake {
    taken: mpsc::Receiver<Taken>,
    pumps: JoinSet<()>,
}

impl Intake {
    pub fn start(shared: &Arc<Shared>, partitions: &[u16], stop: &Stop) -> Self {
        let (sender, taken) = mpsc::channel(WAITING_MAX);
        let mut pumps = JoinSet::new();
        for &partition in partitions {
            let pump = Pump { shared: shared.clone(), partition, sender: sender.clone(), stop: stop.clone() };
            pumps.spawn(pump.run());
        }
        Self { taken, pumps }
    }

    /// The next batch; `None` after a stop, when all that was taken has been given out.
    pub async fn next(&mut self, stop: &Stop) -> Option<Taken> {
        tokio::select! {
            biased;
            taken = self.taken.recv() => taken,
            () = stop.stopped() => None,
        }
    }

    /// Another batch that is here already.
    pub fn more(&mut self) -> Option<Taken> {
        self.taken.try_recv().ok()
    }

    /// Closes the places at the queues: what was not acknowledged goes, in order, to whoever stands by.
    pub async fn close(mut self) {
        self.pumps.shutdown().await;
    }
}

/// Passes one partition's batches on.
struct Pump {
    shared: Arc<Shared>,
    partition: u16,
    sender: mpsc::Sender<Taken>,
    stop: Stop,
}

impl Pump {
    /// Subscribes, and again whenever the place was lost or given up.
    async fn run(self) {
        let mut backoff = Backoff::default();
        let mut missing = None;
        while !self.stop.is_stopped() {
            let lost = match self.shared.bus.consume(self.partition).await {
                Ok(consumer) => {
                    if self.shared.bus_outage.had(&mut missing) {
                        tracing::info!("commands are taken again");
                    }
                    match self.hold(failpoint::consumer(consumer), &mut backoff).await {
                        Ok(()) => continue,
                        Err(lost) => lost,
                    }
                }
                Err(lost) => lost,
            };
            self.say(&lost, &mut missing);
            self.wait(&mut backoff).await;
        }
    }

    fn say<'a>(&'a self, lost: &BusLost, missing: &mut Option<Missing<'a>>) {
        if self.shared.bus_outage.missed(missing) {
            tracing::warn!(error = %lost, partition = self.partition, "commands cannot be taken; subscribing until they can");
        } else {
            tracing::debug!(error = %lost, partition = self.partition, "commands cannot be taken");
        }
    }

    /// Until the next try makes sense.
    async fn wait(&self, backoff: &mut Backoff) {
        self.stop.sleep(backoff.next()).await;
        let mut status = self.shared.bus.watch();
        if status.borrow().state == BusState::Away {
            backoff.reset();
            tokio::select! {
                _ = status.wait_for(|status| status.state != BusState::Away) => {}
                () = self.stop.stopped() => {}
            }
        }
    }

    /// Passes on until the place is lost (Err), given up, or no longer wanted.
    async fn hold(&self, mut consumer: Box<dyn CommandConsumer>, backoff: &mut Backoff) -> Result<(), BusLost> {
        let place = self.shared.places.take(self.partition);
        let acks = Arc::new(Progress { acks: consumer.acks(), done: watch::Sender::new(0) });
        let mut given_up = pin!(place.asked_for());
        let mut stopped = pin!(self.stop.stopped());
        let mut last = 0;
        loop {
            let delivery = tokio::select! {
                biased;
                () = &mut stopped => break,
                () = &mut given_up => break,
                delivery = consumer.recv() => delivery?,
            };
            backoff.reset();
            place.is_active();
            last = delivery.tag;
            let taken = Taken { delivery, partition: self.partition, acks: acks.clone(), at: clock::monotonic() };
            if self.sender.send(taken).await.is_err() {
                return Ok(());
            }
        }
        // Only then is the place closed, or what is in the sequencer's hands would at once be handed out again.
        let mut done = acks.done.subscribe();
        if tokio::time::timeout(FINISH_MAX, done.wait_for(|done| *done >= last)).await.is_err() {
            tracing::debug!(partition = self.partition, "a place is closed before all that came over it is done");
        }
        if !self.stop.is_stopped() {
            metrics::counter!("rookery_partitions_given_up_total").increment(1);
        }
        Ok(())
    }
}

/// Passes acknowledgements on and remembers how far they got, whether or not the broker still wants to know.
struct Progress {
    acks: Arc<dyn Acks>,
    done: watch::Sender<u64>,
}

impl Acks for Progress {
    fn ack(&self, tag: u64) -> futures_util::future::BoxFuture<'_, Result<(), BusLost>> {
        Box::pin(async move {
            let acked = self.acks.ack(tag).await;
            self.done.send_if_modified(|done| std::mem::replace(done, tag.max(*done)) < tag);
            acked
        })
    }
}
