//! The bus between gateways and workers, as a promise kept in two ways: [`local`] within one process, and RabbitMQ.
//!
//! **Commands** go to partitions. A partition's batches reach its one active consumer in the order published; what was
//! not acknowledged when the consumer goes away is delivered again, in order, to the next. They may be delivered twice
//! and they may be lost with the broker: the promise is the answer, and the gateway resends until it has one.
//!
//! **Durable events** are handled by every role at least once after `publish_events` has returned, whatever is killed.
//!
//! `tests/bus_contract.rs` holds both implementations to this page.

pub mod local;
pub mod rabbit;

use crate::{command::CommandBatch, event::DurableEvent};
use futures_util::future::BoxFuture;
use std::{sync::Arc, time::Duration};
use thiserror::Error;
use tokio::sync::watch;

/// Why a batch was not taken. In none of these cases will it ever be applied, except `Broken`: there it is unknown.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum PublishError {
    #[error("the queue is full")]
    Full,
    #[error("the queue is not there")]
    Unroutable,
    #[error("the broker has stopped taking messages")]
    Blocked,
    #[error("the broker cannot be reached")]
    Away,
    #[error("the connection to the broker broke")]
    Broken,
}

/// The consumer has lost its queue; what it had not acknowledged goes to the next one. Subscribe again.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[error("the bus went away: {0}")]
pub struct BusLost(pub String);

/// How the bus is just now, as far as is known without asking it. The worse is the greater.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum BusState {
    Up,
    /// Connected, but the broker has stopped taking messages (its memory or its disk is short).
    Blocked,
    Away,
}

/// How publishing stands, and how often it was interrupted: each time, what was published before and not answered may be
/// lost with the broker, and is published again as soon as the state is `Up`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BusStatus {
    pub state: BusState,
    pub interruptions: u64,
}

/// A partition's queue as the bus sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct QueueState {
    /// Batches not delivered yet.
    pub waiting: usize,
    /// Everybody with a place at it, the active one and those who stand by.
    pub consumers: usize,
}

/// A batch as a consumer gets it. `tag` rises within one consumer.
#[derive(Clone, Debug)]
pub struct Delivery {
    pub tag: u64,
    /// This batch was delivered before; perhaps it was applied, perhaps not.
    pub redelivered: bool,
    pub batch: Arc<CommandBatch>,
}

/// A role that handles durable events.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum EventRole {
    Notify,
    Index,
    Push,
    Files,
}

impl EventRole {
    /// As labels and queues name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Notify => "notify",
            Self::Index => "index",
            Self::Push => "push",
            Self::Files => "files",
        }
    }
}

pub trait Bus: Send + Sync + 'static {
    fn partitions(&self) -> u16;

    /// Ok: the batch is in the queue. It leaves it unhandled after `ttl`.
    fn publish(
        &self,
        partition: u16,
        batch: Arc<CommandBatch>,
        ttl: Duration,
    ) -> BoxFuture<'_, Result<(), PublishError>>;

    /// Subscribes to a partition. Several may; one at a time gets its batches, the others stand by.
    fn consume(&self, partition: u16) -> BoxFuture<'_, Result<Box<dyn CommandConsumer>, BusLost>>;

    /// Ok: each role handles these at least once. Only then may their outbox rows go. It may wait for the roles
    /// themselves (in one process it does), so nothing that others wait for may wait for this.
    fn publish_events(&self, events: Vec<DurableEvent>) -> BoxFuture<'_, Result<(), PublishError>>;

    fn consume_events(&self, role: EventRole) -> BoxFuture<'_, Result<Box<dyn EventConsumer>, BusLost>>;

    /// How a partition's queue is now. Asks the broker: for metrics and for sharing out partitions, not for each batch.
    fn queue(&self, partition: u16) -> BoxFuture<'_, Result<QueueState, BusLost>>;

    /// At once and without a question: for health, and for refusing early what could not be published. Where somebody
    /// consumes, it is the worse of publishing and consuming: who gets no commands cannot do his work.
    fn state(&self) -> BusState;

    /// Publishing alone, for whoever waits for a change of it.
    fn watch(&self) -> watch::Receiver<BusStatus>;
}

/// A place at a partition's queue. Dropping it gives up the place: what is unacknowledged goes to the next, in order.
pub trait CommandConsumer: Send {
    /// The next batch. Cancel safe. At most [`PREFETCH`] batches are given out unacknowledged.
    fn recv(&mut self) -> BoxFuture<'_, Result<Delivery, BusLost>>;

    fn acks(&self) -> Arc<dyn Acks>;
}

/// Unacknowledged batches, or events, that one consumer holds at most.
pub const PREFETCH: usize = 64;

pub trait Acks: Send + Sync {
    /// Done with every batch up to and including `tag`. Again is harmless.
    fn ack(&self, tag: u64) -> BoxFuture<'_, Result<(), BusLost>>;
}

/// A role's view of the durable events.
pub trait EventConsumer: Send {
    /// The next event. Cancel safe. Not acknowledged, it comes again to this role. At most [`PREFETCH`] are given out
    /// unacknowledged; several consumers of one role share its events.
    fn recv(&mut self) -> BoxFuture<'_, Result<(u64, DurableEvent), BusLost>>;

    fn ack(&mut self, tag: u64) -> BoxFuture<'_, Result<(), BusLost>>;
}
