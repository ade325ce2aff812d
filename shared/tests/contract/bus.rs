//! The promises of `shared::bus`, for any implementation: give [`bus_contract!`] a [`Broker`] and every one is a test.

use futures_util::{FutureExt, future};
use shared::{
    bus::{Bus, CommandConsumer, Delivery, EventConsumer, EventRole, PREFETCH, PublishError},
    command::{Command, CommandBatch, Envelope, GatewayRef, SendMessage},
    domain::{CommandId, ConversationId, GatewayId, MessageKind, SessionId, UserId},
    event::DurableEvent,
};
use std::{collections::BTreeSet, sync::Arc, time::Duration};

/// A bus of its own for one test: empty, with [`PARTITIONS`] partitions.
pub trait Broker: Sized {
    async fn start(roles: &[EventRole]) -> Self;

    /// What another process would hold: its consumers can go without those of others.
    async fn connect(&self) -> Arc<dyn Bus>;
}

pub const PARTITIONS: u16 = 3;
/// Longer than any test lasts.
const TTL: Duration = Duration::from_secs(120);

macro_rules! bus_contract {
    ($broker:ty: $($promise:ident)*) => {
        $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $promise() {
            contract::$promise::<$broker>().await;
        })*
    };
    ($broker:ty) => {
        bus_contract! { $broker:
            batches_come_in_the_order_published
            partitions_do_not_wait_for_each_other
            every_batch_of_many_publishers_comes
            what_a_dropped_consumer_had_comes_again_in_order
            a_standby_takes_over
            acknowledging_covers_everything_up_to_the_tag
            acknowledging_twice_is_harmless
            no_more_than_the_prefetch_is_given_out
            a_cancelled_recv_loses_nothing
            an_expired_batch_is_not_delivered
            a_full_queue_refuses_and_keeps_what_it_took
            an_unknown_partition_is_refused
            each_role_gets_each_event
            an_event_not_acknowledged_comes_again
            consumers_of_one_role_share_its_events
            without_roles_events_are_safe_at_once
            events_wait_for_a_role_that_is_not_there_yet
        }
    };
}
pub(crate) use bus_contract;

/// A test that waits longer has failed.
pub async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future).await.expect("what was promised did not happen in time")
}

/// A batch that is told from others by its number.
pub fn batch(number: u64) -> Arc<CommandBatch> {
    batch_of(number, 10)
}

pub fn batch_of(number: u64, bytes: usize) -> Arc<CommandBatch> {
    let command = Command::Send(SendMessage {
        conversation_id: ConversationId::new(),
        kind: MessageKind::Text,
        body: "x".repeat(bytes).into(),
        extra: None,
        reply_to: None,
    });
    let envelope = Envelope {
        ticket: number,
        id: CommandId::new(),
        actor: UserId::new(),
        session: SessionId::new(),
        request_id: "request".into(),
        command,
    };
    Arc::new(CommandBatch { from: GatewayRef { id: GatewayId::new(), epoch: 1 }, commands: vec![envelope] })
}

pub fn number(delivery: &Delivery) -> u64 {
    delivery.batch.commands[0].ticket
}

pub async fn publish(bus: &Arc<dyn Bus>, partition: u16, numbers: impl IntoIterator<Item = u64>) {
    for number in numbers {
        within(bus.publish(partition, batch(number), TTL)).await.expect("the queue has room");
    }
}

pub async fn consume(bus: &Arc<dyn Bus>, partition: u16) -> Box<dyn CommandConsumer> {
    within(bus.consume(partition)).await.expect("a place at the queue")
}

/// The next `count` batches: number, and whether redelivered.
pub async fn take(consumer: &mut Box<dyn CommandConsumer>, count: usize) -> Vec<(u64, bool)> {
    let mut taken = vec![];
    for _ in 0..count {
        let delivery = within(consumer.recv()).await.expect("a delivery");
        taken.push((number(&delivery), delivery.redelivered));
    }
    taken
}

fn numbers(taken: &[(u64, bool)]) -> Vec<u64> {
    taken.iter().map(|(number, _)| *number).collect()
}

async fn ack(consumer: &dyn CommandConsumer, tag: u64) {
    within(consumer.acks().ack(tag)).await.expect("still ours");
}

pub async fn batches_come_in_the_order_published<B: Broker>() {
    let bus = B::start(&[]).await.connect().await;
    assert_eq!(bus.partitions(), PARTITIONS);
    let mut consumer = consume(&bus, 0).await;
    publish(&bus, 0, 0..500).await;
    let mut last_tag = 0;
    for expected in 0..500 {
        let delivery = within(consumer.recv()).await.expect("a delivery");
        assert_eq!((number(&delivery), delivery.redelivered), (expected, false));
        assert!(delivery.tag > last_tag);
        last_tag = delivery.tag;
        ack(&*consumer, last_tag).await;
    }
}

pub async fn partitions_do_not_wait_for_each_other<B: Broker>() {
    let bus = B::start(&[]).await.connect().await;
    publish(&bus, 0, 0..PREFETCH as u64 + 5).await;
    publish(&bus, 1, [1000]).await;
    let mut stuck = consume(&bus, 0).await;
    take(&mut stuck, PREFETCH).await;
    let mut other = consume(&bus, 1).await;
    assert_eq!(take(&mut other, 1).await, [(1000, false)]);
}

pub async fn every_batch_of_many_publishers_comes<B: Broker>() {
    let broker = B::start(&[]).await;
    let mut publishers = vec![];
    for publisher in 0..4 {
        let bus = broker.connect().await;
        publishers.push(tokio::spawn(async move { publish(&bus, 1, publisher * 100..publisher * 100 + 100).await }));
    }
    let mut consumer = consume(&broker.connect().await, 1).await;
    let mut last_of_publisher = [None; 4];
    let mut seen = BTreeSet::new();
    while seen.len() < 400 {
        let delivery = within(consumer.recv()).await.expect("a delivery");
        let last = &mut last_of_publisher[(number(&delivery) / 100) as usize];
        assert!(*last < Some(number(&delivery)), "a publisher's own order is kept");
        *last = Some(number(&delivery));
        seen.insert(number(&delivery));
        ack(&*consumer, delivery.tag).await;
    }
    for publisher in publishers {
        publisher.await.expect("no panic");
    }
}

pub async fn what_a_dropped_consumer_had_comes_again_in_order<B: Broker>() {
    let broker = B::start(&[]).await;
    let bus = broker.connect().await;
    publish(&bus, 2, 0..4).await;
    let mut first = consume(&broker.connect().await, 2).await;
    assert_eq!(take(&mut first, 3).await, [(0, false), (1, false), (2, false)]);
    drop(first);
    publish(&bus, 2, [4]).await;
    let mut second = consume(&broker.connect().await, 2).await;
    let taken = take(&mut second, 5).await;
    assert_eq!(numbers(&taken), [0, 1, 2, 3, 4]);
    assert!(taken[..3].iter().all(|(_, redelivered)| *redelivered), "perhaps applied: must say so");
    // Again and again, until somebody acknowledges.
    drop(second);
    let mut third = consume(&broker.connect().await, 2).await;
    assert_eq!(numbers(&take(&mut third, 5).await), [0, 1, 2, 3, 4]);
}

pub async fn a_standby_takes_over<B: Broker>() {
    let broker = B::start(&[]).await;
    let bus = broker.connect().await;
    let mut active = consume(&broker.connect().await, 0).await;
    publish(&bus, 0, 0..3).await;
    assert_eq!(numbers(&take(&mut active, 1).await), [0]);
    let mut standby = consume(&broker.connect().await, 0).await;
    assert!(standby.recv().now_or_never().is_none(), "one at a time gets a partition's batches");
    let waiting = tokio::spawn(async move {
        let taken = take(&mut standby, 4).await;
        (taken, standby)
    });
    assert_eq!(numbers(&take(&mut active, 2).await), [1, 2]);
    ack(&*active, 1).await;
    drop(active);
    publish(&bus, 0, [3, 4]).await;
    let (taken, _standby) = within(waiting).await.expect("no panic");
    assert_eq!(numbers(&taken), [1, 2, 3, 4]);
}

pub async fn acknowledging_covers_everything_up_to_the_tag<B: Broker>() {
    let broker = B::start(&[]).await;
    publish(&broker.connect().await, 0, 0..5).await;
    let mut first = consume(&broker.connect().await, 0).await;
    take(&mut first, 4).await;
    ack(&*first, 3).await;
    drop(first);
    let mut second = consume(&broker.connect().await, 0).await;
    assert_eq!(numbers(&take(&mut second, 2).await), [3, 4]);
}

pub async fn acknowledging_twice_is_harmless<B: Broker>() {
    let broker = B::start(&[]).await;
    publish(&broker.connect().await, 0, 0..6).await;
    let mut first = consume(&broker.connect().await, 0).await;
    take(&mut first, 4).await;
    for tag in [2, 2, 1, 2] {
        ack(&*first, tag).await;
    }
    assert_eq!(numbers(&take(&mut first, 1).await), [4], "it is still served");
    drop(first);
    let mut second = consume(&broker.connect().await, 0).await;
    assert_eq!(numbers(&take(&mut second, 4).await), [2, 3, 4, 5]);
}

pub async fn no_more_than_the_prefetch_is_given_out<B: Broker>() {
    let broker = B::start(&[]).await;
    publish(&broker.connect().await, 0, 0..PREFETCH as u64 + 2).await;
    let mut consumer = consume(&broker.connect().await, 0).await;
    take(&mut consumer, PREFETCH).await;
    assert!(consumer.recv().now_or_never().is_none());
    ack(&*consumer, 1).await;
    assert_eq!(numbers(&take(&mut consumer, 1).await), [PREFETCH as u64]);
    assert!(consumer.recv().now_or_never().is_none());
    ack(&*consumer, 2).await;
    assert_eq!(numbers(&take(&mut consumer, 1).await), [PREFETCH as u64 + 1]);
}

pub async fn a_cancelled_recv_loses_nothing<B: Broker>() {
    let broker = B::start(&[]).await;
    let publisher = broker.connect().await;
    let publishing = tokio::spawn(async move {
        for number in 0..300 {
            publish(&publisher, 0, [number]).await;
            tokio::task::yield_now().await;
        }
    });
    let mut consumer = consume(&broker.connect().await, 0).await;
    let mut expected = 0;
    within(async {
        while expected < 300 {
            // Half of the tries are given up at once.
            let received = tokio::select! {
                biased;
                delivery = consumer.recv() => Some(delivery.expect("a delivery")),
                () = tokio::task::yield_now() => None,
            };
            if let Some(delivery) = received {
                assert_eq!(number(&delivery), expected);
                expected += 1;
                ack(&*consumer, delivery.tag).await;
            }
        }
    })
    .await;
    publishing.await.expect("no panic");
}

pub async fn an_expired_batch_is_not_delivered<B: Broker>() {
    let broker = B::start(&[]).await;
    let bus = broker.connect().await;
    publish(&bus, 0, [0]).await;
    within(bus.publish(0, batch(1), Duration::ZERO)).await.expect("taken");
    publish(&bus, 0, [2]).await;
    let mut consumer = consume(&bus, 0).await;
    assert_eq!(numbers(&take(&mut consumer, 2).await), [0, 2]);
}

pub async fn a_full_queue_refuses_and_keeps_what_it_took<B: Broker>() {
    let broker = B::start(&[]).await;
    let bus = broker.connect().await;
    let mut taken = vec![];
    let refusal = loop {
        let number = taken.len() as u64;
        assert!(number < 100_000, "a queue without a bound");
        match within(bus.publish(0, batch_of(number, 64 * 1024), TTL)).await {
            Ok(()) => taken.push(number),
            Err(refusal) => break refusal,
        }
    };
    assert_eq!(refusal, PublishError::Full);
    publish(&bus, 1, [0]).await;
    let mut consumer = consume(&bus, 0).await;
    for expected in &taken {
        let delivery = within(consumer.recv()).await.expect("a delivery");
        assert_eq!(number(&delivery), *expected);
        ack(&*consumer, delivery.tag).await;
    }
    publish(&bus, 0, [7]).await;
    assert_eq!(numbers(&take(&mut consumer, 1).await), [7], "room again, and the refused one never comes");
}

pub async fn an_unknown_partition_is_refused<B: Broker>() {
    let bus = B::start(&[]).await.connect().await;
    assert_eq!(within(bus.publish(PARTITIONS, batch(0), TTL)).await, Err(PublishError::Unroutable));
    assert!(within(bus.consume(PARTITIONS)).await.is_err());
}

fn event(number: i64) -> DurableEvent {
    DurableEvent::User { id: UserId(uuid::Uuid::nil()), urev: number }
}

fn urev(event: &DurableEvent) -> i64 {
    match event {
        DurableEvent::User { urev, .. } => *urev,
        other => panic!("{other:?} was never published"),
    }
}

async fn consume_events(bus: &Arc<dyn Bus>, role: EventRole) -> Box<dyn EventConsumer> {
    within(bus.consume_events(role)).await.expect("a place at the queue")
}

/// Takes and acknowledges until all of `0..count` have come.
async fn handle_all(mut consumer: Box<dyn EventConsumer>, count: i64) -> Box<dyn EventConsumer> {
    let mut missing: BTreeSet<i64> = (0..count).collect();
    while !missing.is_empty() {
        let (tag, event) = within(consumer.recv()).await.expect("an event");
        missing.remove(&urev(&event));
        within(consumer.ack(tag)).await.expect("still ours");
    }
    consumer
}

pub async fn each_role_gets_each_event<B: Broker>() {
    let roles = [EventRole::Notify, EventRole::Index];
    let broker = B::start(&roles).await;
    let mut handling = vec![];
    for role in roles {
        let consumer = consume_events(&broker.connect().await, role).await;
        handling.push(tokio::spawn(handle_all(consumer, 300)));
    }
    let bus = broker.connect().await;
    for first in (0..300).step_by(50) {
        within(bus.publish_events((first..first + 50).map(event).collect())).await.expect("safe");
    }
    for result in within(future::join_all(handling)).await {
        result.expect("no panic");
    }
}

pub async fn an_event_not_acknowledged_comes_again<B: Broker>() {
    let broker = B::start(&[EventRole::Notify]).await;
    let bus = broker.connect().await;
    // Whether this returns before or after the handling, what it returned for is handled: the consumer dies twice.
    let publishing = tokio::spawn(async move { bus.publish_events((0..6).map(event).collect()).await });
    let mut first = consume_events(&broker.connect().await, EventRole::Notify).await;
    for expected in 0..4 {
        let (tag, event) = within(first.recv()).await.expect("an event");
        assert_eq!(urev(&event), expected);
        if expected == 1 {
            within(first.ack(tag)).await.expect("still ours");
        }
    }
    drop(first);
    drop(consume_events(&broker.connect().await, EventRole::Notify).await);
    let mut second = consume_events(&broker.connect().await, EventRole::Notify).await;
    let mut missing = BTreeSet::from([0, 2, 3, 4, 5]);
    while !missing.is_empty() {
        let (tag, event) = within(second.recv()).await.expect("an event");
        missing.remove(&urev(&event));
        within(second.ack(tag)).await.expect("still ours");
    }
    within(publishing).await.expect("no panic").expect("safe");
}

pub async fn consumers_of_one_role_share_its_events<B: Broker>() {
    let broker = B::start(&[EventRole::Index]).await;
    let bus = broker.connect().await;
    let mut idle = consume_events(&broker.connect().await, EventRole::Index).await;
    let mut dying = consume_events(&broker.connect().await, EventRole::Index).await;
    let publishing =
        tokio::spawn(async move { bus.publish_events((0..2 * PREFETCH as i64).map(event).collect()).await });
    let mut missing: BTreeSet<i64> = (0..2 * PREFETCH as i64).collect();
    // One takes all that it may and handles nothing; the other gets the rest, and after the death everything.
    let (_, first) = within(dying.recv()).await.expect("an event");
    assert!(missing.contains(&urev(&first)));
    let (tag, event) = within(idle.recv()).await.expect("an event");
    assert_ne!(event, first, "shared, not copied");
    missing.remove(&urev(&event));
    within(idle.ack(tag)).await.expect("still ours");
    drop(dying);
    while !missing.is_empty() {
        let (tag, event) = within(idle.recv()).await.expect("an event");
        missing.remove(&urev(&event));
        within(idle.ack(tag)).await.expect("still ours");
    }
    within(publishing).await.expect("no panic").expect("safe");
}

pub async fn without_roles_events_are_safe_at_once<B: Broker>() {
    let bus = B::start(&[]).await.connect().await;
    within(bus.publish_events(vec![event(0), event(1)])).await.expect("nobody has to handle them");
    within(bus.publish_events(vec![])).await.expect("nothing is safe, too");
}

pub async fn events_wait_for_a_role_that_is_not_there_yet<B: Broker>() {
    let broker = B::start(&[EventRole::Push]).await;
    let bus = broker.connect().await;
    let publishing = tokio::spawn(async move { bus.publish_events((0..3).map(event).collect()).await });
    let consumer = consume_events(&broker.connect().await, EventRole::Push).await;
    handle_all(consumer, 3).await;
    within(publishing).await.expect("no panic").expect("safe");
}
