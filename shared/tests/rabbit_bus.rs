//! Holds the bus over RabbitMQ to the contract, and to what only it promises: what it does with a stranger's message, and
//! when a queue, the broker or the way to it is lost.

#[path = "contract/bus.rs"]
mod contract;
#[path = "rabbit/proxy.rs"]
mod proxy;
#[path = "rabbit/stage.rs"]
mod stage;
#[path = "rabbit/trouble.rs"]
mod trouble;

use contract::{batch, batch_of, bus_contract, consume, number, publish, take, within};
use futures_util::{FutureExt, StreamExt, future};
use lapin::{
    BasicProperties,
    options::{BasicConsumeOptions, BasicPublishOptions, ConfirmSelectOptions, QueueDeleteOptions},
    types::FieldTable,
};
use shared::{
    bus::{
        Bus, CommandConsumer, EventRole, PREFETCH, PublishError, QueueState,
        local::{QUEUE_BATCHES_MAX, QUEUE_BYTES_MAX},
        rabbit::RabbitBus,
    },
    config::{ClusterConfig, Secret},
    wire::{MESSAGE_MAX, encode_batch},
};
use stage::{Rabbit, Stage};
use std::{collections::BTreeSet, sync::Arc, time::Duration};
use tokio::sync::Mutex;

bus_contract!(Rabbit);

const TTL: Duration = Duration::from_secs(60);

/// What anybody may put into a queue.
async fn put(channel: &lapin::Channel, queue: String, body: &[u8]) {
    let options = BasicPublishOptions { mandatory: true, ..Default::default() };
    let confirm = channel.basic_publish("".into(), queue.into(), options, body, BasicProperties::default()).await;
    let confirm = confirm.expect("sent").await.expect("decided");
    assert!(confirm.is_ack() && confirm.take_message().is_none());
}

/// Takes one and acknowledges it.
async fn handle(consumer: &mut Box<dyn CommandConsumer>) -> u64 {
    let delivery = within(consumer.recv()).await.expect("a delivery");
    within(consumer.acks().ack(delivery.tag)).await.expect("still ours");
    number(&delivery)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn each_publisher_hears_of_his_own_batch_at_the_bound() {
    let stage = Stage::new();
    let bus: Arc<dyn Bus> = stage.bus(&[]).await;
    publish(&bus, 0, 0..QUEUE_BATCHES_MAX as u64).await;
    let consumer = Arc::new(Mutex::new((consume(&bus, 0).await, BTreeSet::new())));
    let publishers = (1..=8).map(|publisher| {
        let (bus, consumer) = (bus.clone(), consumer.clone());
        tokio::spawn(async move {
            let mut taken = vec![];
            for number in publisher * 10_000..publisher * 10_000 + 300 {
                match bus.publish(0, batch_of(number, 15 * 1024), TTL).await {
                    Ok(()) => taken.push(number),
                    // Room for one, so that neighbours fare differently all the time.
                    Err(PublishError::Full) => {
                        let (consumer, came) = &mut *consumer.lock().await;
                        came.insert(handle(consumer).await);
                    }
                    Err(error) => panic!("{error:?}"),
                }
            }
            taken
        })
    });
    let taken = future::join_all(publishers.collect::<Vec<_>>()).await;
    let mut taken: BTreeSet<u64> = taken.into_iter().flat_map(|taken| taken.expect("no panic")).collect();
    taken.extend(0..QUEUE_BATCHES_MAX as u64);
    let (consumer, came) = &mut *consumer.lock().await;
    while came.len() < taken.len() {
        came.insert(handle(consumer).await);
    }
    assert_eq!(taken.difference(came).count(), 0, "taken by the broker's word, and not there");
    assert!(consumer.recv().now_or_never().is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_is_bounded_in_bytes() {
    let stage = Stage::new();
    let bus = stage.bus(&[]).await;
    let large = batch_of(0, MESSAGE_MAX - 1000);
    let bytes = encode_batch(&large).len();
    let mut taken = 0;
    while bus.publish(0, large.clone(), TTL).await.is_ok() {
        taken += 1;
    }
    assert_eq!(taken, QUEUE_BYTES_MAX / bytes);
    let larger = batch_of(0, MESSAGE_MAX);
    assert_eq!(bus.publish(1, larger, TTL).await, Err(PublishError::Full), "no consumer would read it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_queue_is_noticed_on_both_sides_and_declared_again() {
    let stage = Stage::new();
    let bus: Arc<dyn Bus> = stage.bus(&[EventRole::Index]).await;
    let mut consumer = consume(&bus, 1).await;
    let mut events = within(bus.consume_events(EventRole::Index)).await.expect("a place");
    publish(&bus, 1, [0]).await;
    take(&mut consumer, 1).await;

    let (_connection, channel) = stage.channel().await;
    for queue in ["commands.01", "events.index"] {
        channel.queue_delete(stage.named(queue).into(), QueueDeleteOptions::default()).await.expect("deleted");
    }
    assert!(within(consumer.recv()).await.is_err());
    assert!(within(events.recv()).await.is_err());
    assert_eq!(within(bus.publish(1, batch(1), TTL)).await, Err(PublishError::Unroutable));
    assert_eq!(bus.watch().borrow().interruptions, 1, "what was in it is lost");
    within(bus.publish(1, batch(2), TTL)).await.expect("it is there again");
    assert_eq!(within(bus.publish_events(vec![stage.event()])).await, Err(PublishError::Unroutable));
    within(bus.publish_events(vec![stage.event()])).await.expect("this too");

    assert_eq!(take(&mut consume(&bus, 1).await, 1).await, [(2, false)]);
    let mut events = within(bus.consume_events(EventRole::Index)).await.expect("a place");
    within(events.recv()).await.expect("an event");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_read_is_left_out_and_stops_nothing() {
    let stage = Stage::new();
    let bus: Arc<dyn Bus> = stage.bus(&[EventRole::Push]).await;
    let (_connection, channel) = stage.channel().await;
    channel.confirm_select(ConfirmSelectOptions::default()).await.expect("confirms");
    let queue = stage.named("commands.00");
    let cut = &encode_batch(&batch(9))[..40];
    publish(&bus, 0, [0]).await;
    for garbage in [b"".as_slice(), b"\xff\xff", b"{\"cmd\":\"message.send\"}", cut, &vec![1; MESSAGE_MAX + 1]] {
        put(&channel, queue.clone(), garbage).await;
    }
    publish(&bus, 0, [1]).await;
    put(&channel, queue, b"again").await;
    // More than may be given out unacknowledged: garbage takes no room.
    for _ in 0..PREFETCH + 10 {
        put(&channel, stage.named("commands.00"), b"more").await;
    }
    publish(&bus, 0, [2]).await;

    let mut consumer = consume(&bus, 0).await;
    let first = within(consumer.recv()).await.expect("a delivery");
    let second = within(consumer.recv()).await.expect("a delivery");
    assert_eq!((number(&first), number(&second)), (0, 1));
    // A tag between them, which was nobody's.
    within(consumer.acks().ack(second.tag - 1)).await.expect("still ours");
    let third = within(consumer.recv()).await.expect("a delivery");
    assert_eq!(number(&third), 2);
    within(consumer.acks().ack(third.tag + 100)).await.expect("still ours");
    publish(&bus, 0, [3]).await;
    assert_eq!(take(&mut consumer, 1).await, [(3, false)], "it is still served");
    drop(consumer);
    assert_eq!(take(&mut consume(&bus, 0).await, 1).await, [(3, true)], "the rest is acknowledged");

    put(&channel, stage.named("events.push"), b"garbage").await;
    within(bus.publish_events(vec![stage.event()])).await.expect("safe");
    let mut events = within(bus.consume_events(EventRole::Push)).await.expect("a place");
    within(events.recv()).await.expect("the one that can be read");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_nobody_can_handle_ends_among_the_dead() {
    let stage = Stage::new();
    let bus = stage.bus(&[EventRole::Notify]).await;
    let (_connection, channel) = stage.channel().await;
    let (options, arguments) = (BasicConsumeOptions::default(), FieldTable::default());
    let dead = channel.basic_consume(stage.named("events.dead").into(), "".into(), options, arguments).await;
    let mut dead = dead.expect("the queue of the dead");
    within(bus.publish_events(vec![stage.event()])).await.expect("safe");
    let mut tries = 0;
    within(async {
        loop {
            let mut events = bus.consume_events(EventRole::Notify).await.expect("a place");
            tokio::select! {
                event = events.recv() => event.map(|_| tries += 1).expect("an event"),
                _ = dead.next() => break,
            }
        }
    })
    .await;
    assert!(tries > 20, "given up after {tries}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_says_how_it_is() {
    let stage = Stage::new();
    let bus: Arc<dyn Bus> = stage.bus(&[]).await;
    let state = async || within(bus.queue(2)).await.expect("it answers");
    assert_eq!(state().await, QueueState { waiting: 0, consumers: 0 });
    publish(&bus, 2, 0..PREFETCH as u64 + 3).await;
    assert_eq!(state().await, QueueState { waiting: PREFETCH + 3, consumers: 0 });
    let (mut active, standby) = (consume(&bus, 2).await, consume(&bus, 2).await);
    take(&mut active, PREFETCH).await;
    assert_eq!(state().await, QueueState { waiting: 3, consumers: 2 });
    drop(standby);
    within(async { while state().await.consumers > 1 {} }).await;
    assert!(within(bus.queue(contract::PARTITIONS)).await.is_err());
    // A question that fails closes its channel, and not those of others.
    let (_connection, channel) = stage.channel().await;
    channel.queue_delete(stage.named("commands.02").into(), QueueDeleteOptions::default()).await.expect("deleted");
    assert!(within(bus.queue(2)).await.is_err());
    publish(&bus, 1, [0]).await;
    assert_eq!(within(bus.queue(1)).await.expect("it answers").waiting, 1);
}

#[tokio::test]
async fn a_wrong_address_is_an_error_that_tells_no_password() {
    let stage = Stage::new();
    for wrong in ["amqp://guest:canary@host:port", "amqps://guest:canary@[::1"] {
        let config = ClusterConfig { amqp: Some(Secret::new(wrong)), ..stage.config.clone() };
        let error = RabbitBus::new(&config, 1, &[]).err().expect("not an address");
        assert!(!error.contains("canary"), "{error}");
    }
    let without = ClusterConfig { amqp: None, ..stage.config.clone() };
    assert!(RabbitBus::new(&without, 1, &[]).is_err());
}
