//! Holds the in-process bus to the contract, and to what only it promises: exact flags, its bounds, its switches for
//! tests.

#[path = "contract/bus.rs"]
mod contract;

use contract::{PARTITIONS, batch, batch_of, bus_contract, consume, number, publish, take, within};
use futures_util::FutureExt;
use shared::{
    bus::{
        Bus, BusState, EventRole, PREFETCH, PublishError,
        local::{EVENTS_MAX, Faults, LocalBus, QUEUE_BATCHES_MAX, QUEUE_BYTES_MAX},
    },
    domain::UserId,
    event::DurableEvent,
};
use std::{sync::Arc, time::Duration};

struct Local(Arc<LocalBus>);

impl contract::Broker for Local {
    async fn start(roles: &[EventRole]) -> Self {
        Self(Arc::new(LocalBus::new(PARTITIONS, roles)))
    }

    async fn connect(&self) -> Arc<dyn Bus> {
        self.0.clone()
    }
}

bus_contract!(Local);

const TTL: Duration = Duration::from_secs(60);

fn local(faults: Faults) -> (Arc<LocalBus>, Arc<dyn Bus>) {
    let local = Arc::new(LocalBus::with_faults(1, &[], faults));
    (local.clone(), local)
}

fn event() -> DurableEvent {
    DurableEvent::User { id: UserId::new(), urev: 1 }
}

#[tokio::test]
async fn only_what_was_given_out_is_marked_redelivered() {
    let (_, bus) = local(Faults::default());
    publish(&bus, 0, 0..4).await;
    let mut first = consume(&bus, 0).await;
    take(&mut first, 3).await;
    drop(first);
    let mut second = consume(&bus, 0).await;
    assert_eq!(take(&mut second, 4).await, [(0, true), (1, true), (2, true), (3, false)]);
}

#[tokio::test]
async fn the_bounds_are_as_stated() {
    let (_, bus) = local(Faults::default());
    publish(&bus, 0, 0..QUEUE_BATCHES_MAX as u64).await;
    assert_eq!(bus.publish(0, batch(0), TTL).await, Err(PublishError::Full));
    assert_eq!(bus.queue(0).await.unwrap().waiting, QUEUE_BATCHES_MAX);
    let (_, bus) = local(Faults::default());
    assert_eq!(bus.publish(0, batch_of(0, QUEUE_BYTES_MAX), TTL).await, Err(PublishError::Full));
    bus.publish(0, batch_of(0, QUEUE_BYTES_MAX - 1000), TTL).await.unwrap();
    assert_eq!(bus.publish(0, batch_of(0, 1000), TTL).await, Err(PublishError::Full));
}

#[tokio::test]
async fn what_expired_makes_room() {
    let (_, bus) = local(Faults::default());
    for number in 0..QUEUE_BATCHES_MAX as u64 {
        bus.publish(0, batch(number), Duration::ZERO).await.unwrap();
    }
    publish(&bus, 0, [7]).await;
    assert_eq!(bus.queue(0).await.unwrap().waiting, 1);
}

#[tokio::test]
async fn what_comes_back_is_let_in_above_the_bound() {
    let (_, bus) = local(Faults::default());
    publish(&bus, 0, 0..QUEUE_BATCHES_MAX as u64).await;
    let mut consumer = consume(&bus, 0).await;
    take(&mut consumer, PREFETCH).await;
    publish(&bus, 0, 0..PREFETCH as u64).await;
    drop(consumer);
    assert_eq!(bus.queue(0).await.unwrap().waiting, QUEUE_BATCHES_MAX + PREFETCH);
    assert_eq!(bus.publish(0, batch(0), TTL).await, Err(PublishError::Full));
}

#[tokio::test]
async fn a_restart_loses_commands_and_says_so() {
    let (switch, bus) = local(Faults::default());
    publish(&bus, 0, 0..2).await;
    let mut consumer = consume(&bus, 0).await;
    take(&mut consumer, 1).await;
    let acks = consumer.acks();
    switch.restart();
    assert!(within(consumer.recv()).await.is_err());
    assert!(acks.ack(1).await.is_err());
    publish(&bus, 0, [9]).await;
    assert_eq!(take(&mut consume(&bus, 0).await, 1).await, [(9, false)]);
}

#[tokio::test]
async fn a_waiting_consumer_hears_that_it_lost_its_place() {
    let (switch, bus) = local(Faults::default());
    let mut consumer = consume(&bus, 0).await;
    let mut standby = consume(&bus, 0).await;
    let waiting = tokio::spawn(async move { (consumer.recv().await.is_err(), standby.recv().await.is_err()) });
    tokio::task::yield_now().await;
    switch.lose_consumers();
    assert_eq!(within(waiting).await.unwrap(), (true, true));
}

#[tokio::test]
async fn faults_deliver_copies_at_once_and_later() {
    let (_, bus) = local(Faults { duplicate_every: Some(2), late: Some(Duration::from_millis(5)) });
    publish(&bus, 0, 0..4).await;
    let mut consumer = consume(&bus, 0).await;
    let mut seen: Vec<u64> = take(&mut consumer, 8).await.iter().map(|(number, _)| *number).collect();
    assert_eq!(seen[..3], [0, 1, 1]);
    seen.sort_unstable();
    assert_eq!(seen, [0, 1, 1, 1, 2, 3, 3, 3]);
}

#[tokio::test]
async fn while_blocked_nothing_is_taken() {
    let (switch, bus) = local(Faults::default());
    switch.set_blocked(true);
    assert_eq!(bus.publish(0, batch(0), TTL).await, Err(PublishError::Blocked));
    assert_eq!(bus.publish_events(vec![event()]).await, Err(PublishError::Blocked));
    switch.set_blocked(false);
    publish(&bus, 0, [0]).await;
    assert_eq!(number(&consume(&bus, 0).await.recv().await.unwrap()), 0);
}

#[tokio::test]
async fn while_away_nothing_can_be_published_and_consumers_go_on() {
    let (switch, bus) = local(Faults::default());
    publish(&bus, 0, [0]).await;
    switch.set_away(true);
    assert_eq!((bus.state(), bus.publish(0, batch(1), TTL).await), (BusState::Away, Err(PublishError::Away)));
    assert_eq!(number(&consume(&bus, 0).await.recv().await.unwrap()), 0);
}

#[tokio::test]
async fn events_are_published_when_they_are_handled() {
    let bus = LocalBus::new(1, &[EventRole::Notify, EventRole::Index]);
    let mut publishing = bus.publish_events(vec![event()]);
    for role in [EventRole::Notify, EventRole::Index] {
        let mut consumer = bus.consume_events(role).await.unwrap();
        let (tag, _) = within(consumer.recv()).await.unwrap();
        assert!((&mut publishing).now_or_never().is_none(), "{role:?} may still die before it has handled this");
        consumer.ack(tag).await.unwrap();
    }
    assert_eq!((&mut publishing).now_or_never(), Some(Ok(())));
}

#[tokio::test]
async fn events_that_nobody_handles_are_bounded() {
    let bus = LocalBus::new(1, &[EventRole::Notify]);
    let mut publishing = bus.publish_events(vec![event(); EVENTS_MAX]);
    assert!((&mut publishing).now_or_never().is_none());
    assert_eq!(bus.publish_events(vec![event()]).await, Err(PublishError::Full));
}

#[tokio::test]
async fn an_event_consumer_hears_that_it_lost_its_place() {
    let bus = LocalBus::new(1, &[EventRole::Notify]);
    let mut consumer = bus.consume_events(EventRole::Notify).await.unwrap();
    bus.restart();
    assert!(within(consumer.recv()).await.is_err());
    assert!(consumer.ack(1).await.is_err());
}
