//! One partition's queue for many threads: a lock around the state machine, and its metrics.

use super::{
    Faults,
    queue::{ConsumerId, Counts, Queue, Taken},
};
use crate::{
    bus::{PublishError, QueueState},
    clock,
    command::CommandBatch,
};
use metrics::{Counter, Gauge, counter, gauge};
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};
use tokio::sync::Notify;

pub(super) struct Partition {
    queue: Mutex<Queue>,
    meters: Meters,
}

struct Meters {
    depth: Gauge,
    bytes: Gauge,
    redelivered: Counter,
    expired: Counter,
    full: Counter,
}

impl Partition {
    pub fn new(number: u16, faults: Faults) -> Self {
        let partition = number.to_string();
        let meters = Meters {
            depth: gauge!("rookery_bus_waiting_batches", "partition" => partition.clone()),
            bytes: gauge!("rookery_bus_waiting_bytes", "partition" => partition),
            redelivered: counter!("rookery_bus_redelivered_total"),
            expired: counter!("rookery_bus_expired_total"),
            full: counter!("rookery_bus_refused_total", "why" => "full"),
        };
        Self { queue: Mutex::new(Queue::new(faults)), meters }
    }

    pub fn publish(&self, batch: Arc<CommandBatch>, expires: Instant) -> Result<(), PublishError> {
        self.with(|queue| queue.publish(batch, expires, clock::monotonic()))
    }

    pub fn subscribe(&self) -> (ConsumerId, Arc<Notify>) {
        self.lock().subscribe()
    }

    pub fn take(&self, consumer: ConsumerId) -> Taken {
        self.with(|queue| queue.take(consumer, clock::monotonic()))
    }

    pub fn ack(&self, consumer: ConsumerId, tag: u64) -> bool {
        self.lock().ack(consumer, tag)
    }

    pub fn leave(&self, consumer: ConsumerId) {
        self.with(|queue| queue.leave(consumer));
    }

    pub fn lose_consumers(&self) {
        self.with(Queue::lose_consumers);
    }

    pub fn clear(&self) {
        self.with(Queue::clear);
    }

    pub fn state(&self) -> QueueState {
        let queue = self.lock();
        QueueState { waiting: queue.depth(), consumers: queue.consumers() }
    }

    /// What the queue says of itself goes to the metrics under its lock, so that no older figure comes last.
    fn with<T>(&self, work: impl FnOnce(&mut Queue) -> T) -> T {
        let mut queue = self.lock();
        let result = work(&mut queue);
        self.meters.depth.set(queue.depth() as f64);
        self.meters.bytes.set(queue.bytes() as f64);
        let Counts { redelivered, expired, full } = std::mem::take(&mut queue.counts);
        for (counter, count) in
            [(&self.meters.redelivered, redelivered), (&self.meters.expired, expired), (&self.meters.full, full)]
        {
            if count > 0 {
                counter.increment(count);
            }
        }
        result
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        // The queue has no invariant that a panic between two of its steps could break for the next caller.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
