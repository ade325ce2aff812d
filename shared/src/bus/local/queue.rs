//! One partition's queue as a state machine: who is next, what waits, what was given out. No clock, no waiting, no
//! locks: [`Partition`](super::partition::Partition) brings those.

use super::{Faults, QUEUE_BATCHES_MAX, QUEUE_BYTES_MAX};
use crate::{
    bus::{Delivery, PREFETCH, PublishError},
    command::{CommandBatch, Envelope},
};
use std::{collections::VecDeque, sync::Arc, time::Instant};
use tokio::sync::Notify;

/// A subscriber's number, never used again.
pub(super) type ConsumerId = u64;

#[derive(Clone)]
struct Item {
    batch: Arc<CommandBatch>,
    bytes: usize,
    expires: Instant,
    redelivered: bool,
    /// Made by a fault: does not multiply further.
    copy: bool,
}

/// What there is for a consumer that asks.
pub(super) enum Taken {
    Delivery(Delivery),
    /// Nothing now; perhaps at this time, otherwise when woken.
    Nothing(Option<Instant>),
    /// It has no place here any more.
    Lost,
}

/// What has happened since the last look, for metrics.
#[derive(Default)]
pub(super) struct Counts {
    pub redelivered: u64,
    pub expired: u64,
    pub full: u64,
}

#[derive(Default)]
pub(super) struct Queue {
    waiting: VecDeque<Item>,
    waiting_bytes: usize,
    /// Copies for later, by the time they are due.
    late: VecDeque<(Instant, Item)>,
    /// In order of subscription: the first is active, the others stand by.
    consumers: VecDeque<(ConsumerId, Arc<Notify>)>,
    next_consumer: ConsumerId,
    /// Given to the active consumer, by tag.
    unacked: VecDeque<(u64, Item)>,
    last_tag: u64,
    delivered: u32,
    faults: Faults,
    pub counts: Counts,
}

impl Queue {
    pub fn new(faults: Faults) -> Self {
        Self { faults, ..Self::default() }
    }

    pub fn consumers(&self) -> usize {
        self.consumers.len()
    }

    pub fn depth(&self) -> usize {
        self.waiting.len()
    }

    pub fn bytes(&self) -> usize {
        self.waiting_bytes
    }

    pub fn publish(&mut self, batch: Arc<CommandBatch>, expires: Instant, now: Instant) -> Result<(), PublishError> {
        let bytes = batch.commands.iter().map(Envelope::weight).sum();
        if self.is_full(bytes) {
            self.expire_all(now);
        }
        if self.is_full(bytes) {
            self.counts.full += 1;
            return Err(PublishError::Full);
        }
        self.waiting_bytes += bytes;
        self.waiting.push_back(Item { batch, bytes, expires, redelivered: false, copy: false });
        self.wake();
        Ok(())
    }

    pub fn subscribe(&mut self) -> (ConsumerId, Arc<Notify>) {
        self.next_consumer += 1;
        let place = (self.next_consumer, Arc::new(Notify::new()));
        self.consumers.push_back(place.clone());
        place
    }

    pub fn take(&mut self, consumer: ConsumerId, now: Instant) -> Taken {
        match self.consumers.iter().position(|(id, _)| *id == consumer) {
            None => return Taken::Lost,
            Some(0) if self.unacked.len() < PREFETCH => {}
            Some(_) => return Taken::Nothing(None),
        }
        while self.late.front().is_some_and(|(due, _)| *due <= now) {
            let (_, item) = self.late.pop_front().expect("cannot fail because the front was just seen");
            self.waiting_bytes += item.bytes;
            self.waiting.push_back(item);
        }
        while let Some(item) = self.waiting.pop_front() {
            self.waiting_bytes -= item.bytes;
            if item.expires <= now {
                self.counts.expired += 1;
                continue;
            }
            return Taken::Delivery(self.give(item, now));
        }
        Taken::Nothing(self.late.front().map(|(due, _)| *due))
    }

    fn give(&mut self, item: Item, now: Instant) -> Delivery {
        self.inject(&item, now);
        self.counts.redelivered += u64::from(item.redelivered);
        self.last_tag += 1;
        let delivery = Delivery { tag: self.last_tag, redelivered: item.redelivered, batch: item.batch.clone() };
        self.unacked.push_back((self.last_tag, item));
        delivery
    }

    /// The copies that [`Faults`] ask for. A copy has its original's expiry: a late one may never be seen.
    fn inject(&mut self, item: &Item, now: Instant) {
        let Some(every) = self.faults.duplicate_every else { return };
        if item.copy {
            return;
        }
        self.delivered = self.delivered.wrapping_add(1);
        if !self.delivered.is_multiple_of(every.max(1)) {
            return;
        }
        self.waiting_bytes += item.bytes;
        self.waiting.push_front(Item { redelivered: true, copy: true, ..item.clone() });
        if let Some(later) = self.faults.late {
            self.late.push_back((now + later, Item { redelivered: false, copy: true, ..item.clone() }));
        }
    }

    /// Done with everything up to `tag`. What is acknowledged twice, or was never given out, changes nothing.
    /// False: the consumer has no place here any more, and what it had goes to another.
    pub fn ack(&mut self, consumer: ConsumerId, tag: u64) -> bool {
        let Some(place) = self.consumers.iter().position(|(id, _)| *id == consumer) else { return false };
        if place > 0 {
            return true;
        }
        let was_full = self.unacked.len() >= PREFETCH;
        while self.unacked.front().is_some_and(|(given, _)| *given <= tag) {
            self.unacked.pop_front();
        }
        if was_full {
            self.wake();
        }
        true
    }

    /// Gives up the place. What the active one had goes back to the front, in order, for the next.
    pub fn leave(&mut self, consumer: ConsumerId) {
        let Some(place) = self.consumers.iter().position(|(id, _)| *id == consumer) else { return };
        self.consumers.remove(place);
        if place == 0 {
            self.give_back();
            self.wake();
        }
    }

    pub fn lose_consumers(&mut self) {
        self.give_back();
        for (_, notify) in self.consumers.drain(..) {
            notify.notify_one();
        }
    }

    /// Forgets every batch.
    pub fn clear(&mut self) {
        self.waiting.clear();
        self.waiting_bytes = 0;
        self.late.clear();
        self.unacked.clear();
    }

    fn give_back(&mut self) {
        for (_, item) in self.unacked.drain(..).rev() {
            self.waiting_bytes += item.bytes;
            self.waiting.push_front(Item { redelivered: true, ..item });
        }
        self.last_tag = 0;
    }

    fn is_full(&self, bytes: usize) -> bool {
        self.waiting.len() >= QUEUE_BATCHES_MAX || self.waiting_bytes + bytes > QUEUE_BYTES_MAX
    }

    fn expire_all(&mut self, now: Instant) {
        let before = self.waiting.len();
        self.waiting.retain(|item| item.expires > now);
        self.counts.expired += (before - self.waiting.len()) as u64;
        self.waiting_bytes = self.waiting.iter().map(|item| item.bytes).sum();
    }

    fn wake(&self) {
        if let Some((_, notify)) = self.consumers.front() {
            notify.notify_one();
        }
    }
}
