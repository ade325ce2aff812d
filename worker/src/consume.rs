//! Takes batches from the partitions of one sequencer: a task for each partition passes what its consumer gets on to
//! the sequencer. Ending them closes their places at the queues: what was not acknowledged goes, in order, to whoever
//! stands by, so an uncommitted batch is dropped and never kept.

use shared::{
    bus::{Acks, Bus, BusLost, Delivery},
    lifecycle::{Backoff, Stop},
};
use std::sync::Arc;
use tokio::{sync::mpsc, task::JoinSet};

/// Batches that wait for the sequencer, beyond those it holds: when it is full the consumers stop taking, and the
/// queues fill where their limit is watched.
const WAITING_MAX: usize = 64;

/// A batch with the way to acknowledge it.
pub struct Taken {
    pub delivery: Delivery,
    pub partition: u16,
    pub acks: Arc<dyn Acks>,
}

pub struct Intake {
    taken: mpsc::Receiver<Taken>,
    _pumps: JoinSet<()>,
}

impl Intake {
    pub fn start(bus: &Arc<dyn Bus>, partitions: &[u16], stop: &Stop) -> Self {
        let (sender, taken) = mpsc::channel(WAITING_MAX);
        let mut pumps = JoinSet::new();
        for &partition in partitions {
            pumps.spawn(pump(bus.clone(), partition, sender.clone(), stop.clone()));
        }
        Self { taken, _pumps: pumps }
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
}

async fn pump(bus: Arc<dyn Bus>, partition: u16, sender: mpsc::Sender<Taken>, stop: Stop) {
    let mut backoff = Backoff::default();
    while !stop.is_stopped() {
        match subscribe(&bus, partition, &sender, &stop, &mut backoff).await {
            Ok(()) => return,
            Err(lost) => {
                tracing::warn!(partition, error = %lost, "commands cannot be taken; subscribing again");
                stop.sleep(backoff.next()).await;
            }
        }
    }
}

/// Takes until the stop, or until the bus goes away.
async fn subscribe(
    bus: &Arc<dyn Bus>,
    partition: u16,
    sender: &mpsc::Sender<Taken>,
    stop: &Stop,
    backoff: &mut Backoff,
) -> Result<(), BusLost> {
    let mut consumer = bus.consume(partition).await?;
    let acks = consumer.acks();
    backoff.reset();
    loop {
        let delivery = tokio::select! {
            delivery = consumer.recv() => delivery?,
            // Kept until the sequencer has finished: dropping the place now would hand out again what is in its hands.
            () = stop.stopped() => {
                sender.closed().await;
                return Ok(());
            }
        };
        if sender.send(Taken { delivery, partition, acks: acks.clone() }).await.is_err() {
            return Ok(());
        }
    }
}
