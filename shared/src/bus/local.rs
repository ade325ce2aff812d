//! The bus within one process: queues in memory that keep a broker's promises, so that what works here works there.
//! It redelivers, it is bounded, and it drops nothing silently.
//!
//! Commands need not survive the process: the promise is the answer. Durable events must, and memory cannot hold them:
//! here the outbox *is* the durable events, so `publish_events` returns only when every role has handled them.

mod consumer;
mod events;
mod partition;
mod queue;

use super::{Bus, BusLost, BusState, BusStatus, CommandConsumer, EventConsumer, EventRole, PublishError, QueueState};
use crate::{clock, command::CommandBatch, event::DurableEvent};
use consumer::LocalConsumer;
use events::{EventQueues, LocalEvents};
use futures_util::future::{self, BoxFuture};
use partition::Partition;
use std::{sync::Arc, time::Duration};
use tokio::sync::watch;

/// What may wait in one partition: batches, and bytes by [`Envelope::weight`](crate::command::Envelope::weight).
/// Beyond it a publication is refused as `Full`. What was given out and comes back is let in above it: at most
/// [`PREFETCH`](super::PREFETCH) batches.
pub const QUEUE_BATCHES_MAX: usize = 1024;
pub const QUEUE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Durable events that one role has not acknowledged. Beyond it their outbox rows wait for the relay.
pub const EVENTS_MAX: usize = 16_384;

/// What a broker may do but rarely does, done on purpose. For tests.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// Every n-th delivery is followed by a copy of itself.
    pub duplicate_every: Option<u32>,
    /// And by another one this much later, behind whatever has come meanwhile: a resend that nobody needed.
    pub late: Option<Duration>,
}

pub struct LocalBus {
    partitions: Vec<Arc<Partition>>,
    events: Arc<EventQueues>,
    status: watch::Sender<BusStatus>,
}

impl LocalBus {
    /// `roles` get every durable event, also those published before they subscribe; a role that subscribes without
    /// being named here gets what comes from then on.
    ///
    /// Metrics are registered here: telemetry starts first.
    pub fn new(partitions: u16, roles: &[EventRole]) -> Self {
        Self::build(partitions, roles, Faults::default())
    }

    pub fn with_faults(partitions: u16, roles: &[EventRole], faults: Faults) -> Self {
        Self::build(partitions, roles, faults)
    }

    fn build(partitions: u16, roles: &[EventRole], faults: Faults) -> Self {
        Self {
            partitions: (0..partitions).map(|number| Arc::new(Partition::new(number, faults))).collect(),
            events: Arc::new(EventQueues::new(roles, faults)),
            status: watch::Sender::new(BusStatus { state: BusState::Up, interruptions: 0 }),
        }
    }

    /// Every consumer loses its queue, as when connections break; what was unacknowledged is delivered again.
    pub fn lose_consumers(&self) {
        self.partitions.iter().for_each(|partition| partition.lose_consumers());
        self.events.lose_consumers();
    }

    /// A broker's restart: the same, and the commands that waited or were given out are lost. Durable events are not.
    pub fn restart(&self) {
        self.partitions.iter().for_each(|partition| partition.clear());
        self.lose_consumers();
        self.status.send_modify(|status| status.interruptions += 1);
    }

    /// While set, nothing is taken: `Blocked`.
    pub fn set_blocked(&self, blocked: bool) {
        self.set(if blocked { BusState::Blocked } else { BusState::Up });
    }

    fn partition(&self, number: u16) -> Option<&Arc<Partition>> {
        self.partitions.get(usize::from(number))
    }

    /// While set, nothing can be published: `Away`. Consumers go on.
    pub fn set_away(&self, away: bool) {
        self.set(if away { BusState::Away } else { BusState::Up });
    }

    fn set(&self, state: BusState) {
        self.status.send_modify(|status| status.state = state);
    }

    /// Why nothing is taken just now.
    fn refusal(&self) -> Option<PublishError> {
        match self.state() {
            BusState::Up => None,
            BusState::Blocked => Some(PublishError::Blocked),
            BusState::Away => Some(PublishError::Away),
        }
    }
}

impl Bus for LocalBus {
    fn partitions(&self) -> u16 {
        self.partitions.len() as u16
    }

    fn publish(
        &self,
        partition: u16,
        batch: Arc<CommandBatch>,
        ttl: Duration,
    ) -> BoxFuture<'_, Result<(), PublishError>> {
        let taken = match (self.refusal(), self.partition(partition)) {
            (Some(refusal), _) => Err(refusal),
            (None, None) => Err(PublishError::Unroutable),
            (None, Some(partition)) => partition.publish(batch, clock::monotonic() + ttl),
        };
        Box::pin(future::ready(taken))
    }

    fn consume(&self, partition: u16) -> BoxFuture<'_, Result<Box<dyn CommandConsumer>, BusLost>> {
        let consumer = match self.partition(partition) {
            Some(partition) => Ok(Box::new(LocalConsumer::new(partition.clone())) as Box<dyn CommandConsumer>),
            None => Err(BusLost(format!("there is no partition {partition}"))),
        };
        Box::pin(future::ready(consumer))
    }

    fn publish_events(&self, events: Vec<DurableEvent>) -> BoxFuture<'_, Result<(), PublishError>> {
        let published = self.refusal().map_or_else(|| self.events.publish(events), Err);
        Box::pin(async move {
            published?.wait().await;
            Ok(())
        })
    }

    fn consume_events(&self, role: EventRole) -> BoxFuture<'_, Result<Box<dyn EventConsumer>, BusLost>> {
        let consumer: Box<dyn EventConsumer> = Box::new(LocalEvents::new(self.events.clone(), role));
        Box::pin(future::ready(Ok(consumer)))
    }

    fn queue(&self, partition: u16) -> BoxFuture<'_, Result<QueueState, BusLost>> {
        let state = self.partition(partition).map(|partition| partition.state());
        Box::pin(future::ready(state.ok_or_else(|| BusLost(format!("there is no partition {partition}")))))
    }

    fn state(&self) -> BusState {
        self.status.borrow().state
    }

    fn watch(&self) -> watch::Receiver<BusStatus> {
        self.status.subscribe()
    }
}
