//! One life of a gateway: its inbox, bounded, whole or lost.

use super::{INBOX_BYTES_MAX, State};
use crate::{
    command::GatewayRef,
    domain::INBOX_ENTRIES_MAX,
    event::InboxEntry,
    routing::{Inbox, InboxLost},
};
use futures_util::future::BoxFuture;
use metrics::{Gauge, gauge};
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak, atomic::AtomicUsize},
};
use tokio::sync::Notify;

pub(super) struct Live {
    pub me: GatewayRef,
    pub watched: AtomicUsize,
    queue: Mutex<Queue>,
    arrived: Notify,
    entries: Gauge,
    bytes: Gauge,
}

#[derive(Default)]
struct Queue {
    entries: VecDeque<(usize, InboxEntry)>,
    bytes: usize,
    over: Option<InboxLost>,
}

impl Live {
    pub fn new(me: GatewayRef) -> Self {
        let (entries, bytes) = (gauge!("rookery_inbox_entries"), gauge!("rookery_inbox_bytes"));
        Self { me, watched: AtomicUsize::new(0), queue: Mutex::default(), arrived: Notify::new(), entries, bytes }
    }

    /// False: it is over. A full one is over with this entry: it could not be whole any more, and its reader must not
    /// get the one after it.
    pub fn push(&self, entry: InboxEntry) -> bool {
        let weight = entry.weight();
        let mut queue = self.lock();
        if queue.over.is_none() && (queue.entries.len() >= INBOX_ENTRIES_MAX || queue.bytes + weight > INBOX_BYTES_MAX)
        {
            self.close(&mut queue, "it overflowed");
        }
        if queue.over.is_some() {
            return false;
        }
        queue.bytes += weight;
        queue.entries.push_back((weight, entry));
        drop(queue);
        self.entries.increment(1.0);
        self.bytes.increment(weight as f64);
        self.arrived.notify_one();
        true
    }

    fn pop(&self) -> Result<Option<InboxEntry>, InboxLost> {
        let mut queue = self.lock();
        if let Some(over) = &queue.over {
            return Err(over.clone());
        }
        let Some((weight, entry)) = queue.entries.pop_front() else { return Ok(None) };
        queue.bytes -= weight;
        drop(queue);
        self.entries.decrement(1.0);
        self.bytes.decrement(weight as f64);
        Ok(Some(entry))
    }

    /// The first reason stays.
    pub fn end(&self, why: &str) {
        let mut queue = self.lock();
        if queue.over.is_none() {
            self.close(&mut queue, why);
        }
    }

    fn close(&self, queue: &mut Queue, why: &str) {
        self.entries.decrement(queue.entries.len() as f64);
        self.bytes.decrement(queue.bytes as f64);
        *queue = Queue { over: Some(InboxLost(why.to_owned())), ..Queue::default() };
        self.arrived.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The gateway's end of it. Dropping it ends the epoch: nobody will ever read what comes.
pub(super) struct LocalInbox {
    live: Arc<Live>,
    routing: Weak<State>,
}

impl LocalInbox {
    pub fn new(live: Arc<Live>, routing: Weak<State>) -> Self {
        Self { live, routing }
    }
}

impl Drop for LocalInbox {
    fn drop(&mut self) {
        if let Some(routing) = self.routing.upgrade() {
            routing.end(self.live.me, "nobody reads it");
        }
    }
}

impl Inbox for LocalInbox {
    fn recv(&mut self) -> BoxFuture<'_, Result<InboxEntry, InboxLost>> {
        Box::pin(async move {
            loop {
                if let Some(entry) = self.live.pop()? {
                    return Ok(entry);
                }
                self.live.arrived.notified().await;
            }
        })
    }
}
