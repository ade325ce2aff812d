//! Durable events within one process: a queue for each role, and for each publication a count of what is still open.

use super::{EVENTS_MAX, Faults};
use crate::{
    bus::{BusLost, EventConsumer, EventRole, PREFETCH, PublishError},
    event::DurableEvent,
};
use futures_util::future::{self, BoxFuture};
use metrics::{counter, gauge};
use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};
use tokio::sync::Notify;

/// A publication's open events: one for each event and role.
pub(super) struct Handled {
    open: AtomicUsize,
    done: Notify,
}

impl Handled {
    pub async fn wait(&self) {
        while self.open.load(Ordering::Acquire) > 0 {
            self.done.notified().await;
        }
    }

    fn one_less(&self) {
        if self.open.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.done.notify_one();
        }
    }
}

#[derive(Clone)]
struct Item {
    event: DurableEvent,
    /// None in a copy that a fault made.
    publication: Option<Arc<Handled>>,
}

/// A role's events by number of arrival, which is also their tag: what comes back takes its old place.
#[derive(Default)]
struct Role {
    waiting: BTreeMap<u64, Item>,
    given: BTreeMap<u64, (u64, Item)>,
    /// How many each consumer holds unacknowledged.
    consumers: HashMap<u64, usize>,
    next_consumer: u64,
    last_number: u64,
    delivered: u32,
    wake: Arc<Notify>,
}

enum Taken {
    Event(u64, DurableEvent),
    Nothing,
    Lost,
}

impl Role {
    fn push(&mut self, item: Item) {
        self.last_number += 1;
        self.waiting.insert(self.last_number, item);
        // All of them: the one that would be chosen may hold as many as it may.
        self.wake.notify_waiters();
    }

    fn take(&mut self, consumer: u64, faults: Faults) -> Taken {
        let Some(held) = self.consumers.get_mut(&consumer) else { return Taken::Lost };
        if *held >= PREFETCH {
            return Taken::Nothing;
        }
        let Some((number, item)) = self.waiting.pop_first() else { return Taken::Nothing };
        *held += 1;
        let event = item.event.clone();
        self.delivered = self.delivered.wrapping_add(1);
        if item.publication.is_some()
            && faults.duplicate_every.is_some_and(|every| self.delivered.is_multiple_of(every.max(1)))
        {
            self.push(Item { publication: None, event: event.clone() });
        }
        self.given.insert(number, (consumer, item));
        Taken::Event(number, event)
    }

    fn ack(&mut self, consumer: u64, tag: u64) -> bool {
        let Some(held) = self.consumers.get_mut(&consumer) else { return false };
        if self.given.get(&tag).is_some_and(|(holder, _)| *holder == consumer) {
            *held -= 1;
            let item = self.given.remove(&tag).map(|(_, item)| item);
            if let Some(publication) = item.and_then(|item| item.publication) {
                publication.one_less();
            }
            self.wake.notify_waiters();
        }
        true
    }

    /// Takes back what these consumers hold; returns how much that was.
    fn give_back(&mut self, whose: impl Fn(u64) -> bool) -> u64 {
        let back: Vec<u64> =
            self.given.iter().filter(|(_, (consumer, _))| whose(*consumer)).map(|(number, _)| *number).collect();
        for number in &back {
            if let Some((_, item)) = self.given.remove(number) {
                self.waiting.insert(*number, item);
            }
        }
        self.consumers.retain(|consumer, _| !whose(*consumer));
        self.wake.notify_waiters();
        back.len() as u64
    }
}

pub(super) struct EventQueues {
    roles: Mutex<HashMap<EventRole, Role>>,
    faults: Faults,
}

impl EventQueues {
    pub fn new(roles: &[EventRole], faults: Faults) -> Self {
        Self { roles: Mutex::new(roles.iter().map(|role| (*role, Role::default())).collect()), faults }
    }

    /// All of them to every role, or, where one role has no room, none to any.
    pub fn publish(&self, events: Vec<DurableEvent>) -> Result<Arc<Handled>, PublishError> {
        let mut roles = self.lock();
        if roles.values().any(|role| role.waiting.len() + role.given.len() + events.len() > EVENTS_MAX) {
            counter!("rookery_bus_events_refused_total").increment(1);
            return Err(PublishError::Full);
        }
        let handled = Arc::new(Handled { open: AtomicUsize::new(events.len() * roles.len()), done: Notify::new() });
        for (name, role) in roles.iter_mut() {
            for event in &events {
                role.push(Item { event: event.clone(), publication: Some(handled.clone()) });
            }
            report(*name, role);
        }
        Ok(handled)
    }

    pub fn lose_consumers(&self) {
        for (name, role) in self.lock().iter_mut() {
            let back = role.give_back(|_| true);
            redelivered(*name, back);
        }
    }

    fn with<T>(&self, name: EventRole, work: impl FnOnce(&mut Role) -> T) -> T {
        let mut roles = self.lock();
        let role = roles.entry(name).or_default();
        let result = work(role);
        report(name, role);
        result
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<EventRole, Role>> {
        self.roles.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn report(name: EventRole, role: &Role) {
    gauge!("rookery_bus_events_open", "role" => name.name()).set((role.waiting.len() + role.given.len()) as f64);
}

fn redelivered(name: EventRole, count: u64) {
    if count > 0 {
        counter!("rookery_bus_events_redelivered_total", "role" => name.name()).increment(count);
    }
}

/// A place in a role: several share the role's events.
pub(super) struct LocalEvents {
    queues: Arc<EventQueues>,
    role: EventRole,
    id: u64,
    wake: Arc<Notify>,
}

impl LocalEvents {
    pub fn new(queues: Arc<EventQueues>, role: EventRole) -> Self {
        let (id, wake) = queues.with(role, |role| {
            role.next_consumer += 1;
            role.consumers.insert(role.next_consumer, 0);
            (role.next_consumer, role.wake.clone())
        });
        Self { queues, role, id, wake }
    }
}

impl Drop for LocalEvents {
    fn drop(&mut self) {
        let back = self.queues.with(self.role, |role| role.give_back(|consumer| consumer == self.id));
        redelivered(self.role, back);
    }
}

fn lost() -> BusLost {
    BusLost("the consumer has no place at its queue any more".to_owned())
}

impl EventConsumer for LocalEvents {
    fn recv(&mut self) -> BoxFuture<'_, Result<(u64, DurableEvent), BusLost>> {
        Box::pin(async move {
            loop {
                // Made before looking: it hears of what comes between the look and the wait.
                let woken = self.wake.notified();
                match self.queues.with(self.role, |role| role.take(self.id, self.queues.faults)) {
                    Taken::Event(tag, event) => return Ok((tag, event)),
                    Taken::Lost => return Err(lost()),
                    Taken::Nothing => woken.await,
                }
            }
        })
    }

    fn ack(&mut self, tag: u64) -> BoxFuture<'_, Result<(), BusLost>> {
        let held = self.queues.with(self.role, |role| role.ack(self.id, tag));
        Box::pin(future::ready(if held { Ok(()) } else { Err(lost()) }))
    }
}
