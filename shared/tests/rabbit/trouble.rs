//! What the bus does when the way to the broker breaks, or leads nowhere.

use crate::{
    contract::{batch, consume, number, publish, take, within},
    proxy::Proxy,
    stage::Stage,
};
use futures_util::future;
use shared::bus::{Bus, BusState, BusStatus, EventRole, PublishError, rabbit::CONFIRM_MAX};
use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

const TTL: Duration = Duration::from_secs(60);
/// What a busy machine may add to a bound.
const SLACK: Duration = Duration::from_secs(3);

async fn until(bus: &dyn Bus, what: impl FnMut(&BusStatus) -> bool) -> BusStatus {
    *within(bus.watch().wait_for(what)).await.expect("the bus is there")
}

/// Of both connections, which nobody announces.
async fn until_it_is(bus: &dyn Bus, state: BusState) {
    within(async {
        while bus.state() != state {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

fn is_up(status: &BusStatus) -> bool {
    status.state == BusState::Up
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_is_not_there_yet_is_away_and_is_found_when_it_comes() {
    let (stage, proxy) = (Stage::new(), Proxy::start().await);
    proxy.close();
    let bus = stage.begin(&proxy.config(&stage.config), &[EventRole::Push]);
    assert_eq!((bus.state(), bus.watch().borrow().interruptions), (BusState::Away, 0));
    assert_eq!(within(bus.publish(0, batch(0), TTL)).await, Err(PublishError::Away));
    assert_eq!(within(bus.publish_events(vec![stage.event()])).await, Err(PublishError::Away));
    assert!(within(bus.queue(0)).await.is_err());
    assert!(within(bus.consume(0)).await.is_err());
    proxy.open();
    until(&*bus, is_up).await;
    within(bus.publish(0, batch(1), TTL)).await.expect("it is there");
    within(bus.publish_events(vec![stage.event()])).await.expect("with its queues");
    let mut consumer = within(bus.consume(0)).await.expect("and its place");
    assert_eq!(take(&mut consumer, 1).await, [(1, false)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_connection_is_made_again_and_says_what_is_unknown() {
    let (stage, proxy) = (Stage::new(), Proxy::start().await);
    let bus: Arc<dyn Bus> = stage.bus_through(&proxy.config(&stage.config), &[]).await;
    let mut consumer = consume(&bus, 0).await;
    let acks = consumer.acks();
    publish(&bus, 0, 0..3).await;
    take(&mut consumer, 3).await;

    // Several at a time, over the cut, until one was taken after it.
    let mut publishing = vec![];
    for publisher in 1..=4 {
        let bus = bus.clone();
        publishing.push(tokio::spawn(async move {
            let mut results = vec![];
            for number in publisher * 10_000.. {
                let result = bus.publish(0, batch(number), TTL).await;
                results.push((number, result));
                if result == Err(PublishError::Full) || (result.is_ok() && bus.watch().borrow().interruptions > 0) {
                    break;
                }
                if result == Err(PublishError::Away) {
                    until(&*bus, is_up).await;
                }
            }
            results
        }));
    }
    proxy.cut();
    let results: Vec<_> = within(future::join_all(publishing)).await.into_iter().flat_map(Result::unwrap).collect();
    assert!(until(&*bus, is_up).await.interruptions > 0);

    while within(consumer.recv()).await.is_ok() {}
    assert!(within(consumer.recv()).await.is_err(), "and stays lost");
    assert!(within(acks.ack(2)).await.is_err(), "too late, and no harm");
    let mut consumer = consume(&bus, 0).await;
    let waiting = 3 + results.iter().filter(|(_, result)| result.is_ok()).count();
    let mut seen = vec![];
    let unknown: BTreeSet<u64> =
        results.iter().filter(|(_, result)| *result == Err(PublishError::Broken)).map(|(number, _)| *number).collect();
    while seen.iter().filter(|number| !unknown.contains(number)).count() < waiting {
        let delivery = within(consumer.recv()).await.expect("a delivery");
        seen.push(number(&delivery));
        within(consumer.acks().ack(delivery.tag)).await.expect("still ours");
    }
    assert_eq!(seen[..3], [0, 1, 2], "what was not acknowledged comes first");
    for (number, result) in results {
        match result {
            Ok(()) => assert!(seen.contains(&number), "{number} was taken and is lost"),
            Err(PublishError::Broken) => {}
            Err(refused) => assert!(!seen.contains(&number), "{number} was {refused:?} and came"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_way_that_leads_nowhere_is_noticed() {
    let (stage, proxy) = (Stage::new(), Proxy::start().await);
    let bus: Arc<dyn Bus> = stage.bus_through(&proxy.config(&stage.config), &[]).await;
    let direct: Arc<dyn Bus> = stage.bus(&[]).await;
    let mut active = consume(&bus, 0).await;
    publish(&bus, 0, 0..2).await;
    take(&mut active, 2).await;
    let mut standby = consume(&direct, 0).await;

    proxy.hold(true, true);
    let begun = Instant::now();
    let heartbeat = stage.config.amqp_heartbeat;
    // Nobody closes anything: both sides have only the silence.
    let (lost, taken, sent) = tokio::join!(
        async {
            let lost = within(active.recv()).await.is_err();
            (lost, begun.elapsed())
        },
        async {
            let taken = take(&mut standby, 2).await;
            (taken, begun.elapsed())
        },
        async {
            let sent = within(bus.publish(1, batch(7), TTL)).await;
            (sent, begun.elapsed())
        },
    );
    assert!(lost.0 && lost.1 < 3 * heartbeat + SLACK, "the worker hears of it: {lost:?}");
    assert_eq!(taken.0, [(0, true), (1, true)]);
    assert!(taken.1 < 3 * heartbeat + SLACK, "its partition passes on: {taken:?}");
    assert_eq!(sent.0, Err(PublishError::Broken));
    assert!(sent.1 >= CONFIRM_MAX && sent.1 < CONFIRM_MAX + SLACK, "{sent:?}");
    until(&*bus, |status| status.state == BusState::Away).await;
    assert_eq!(within(bus.publish(1, batch(8), TTL)).await, Err(PublishError::Away), "at once");

    proxy.open();
    until(&*bus, is_up).await;
    publish(&bus, 1, [9]).await;
    let mut consumer = consume(&bus, 1).await;
    // What was on its way was dropped with the connection, or came; what was refused did not.
    let mut seen = vec![];
    while !seen.contains(&9) {
        seen.push(number(&within(consumer.recv()).await.expect("a delivery")));
    }
    assert!(!seen.contains(&8));
}

/// Who consumes is away as soon as he gets nothing, however long publishing takes to notice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bus_that_gives_nothing_out_is_away() {
    let (stage, proxy) = (Stage::new(), Proxy::start().await);
    let bus: Arc<dyn Bus> = stage.bus_through(&proxy.config(&stage.config), &[]).await;
    let mut consumer = consume(&bus, 0).await;
    until_it_is(&*bus, BusState::Up).await;
    proxy.hold(true, true);
    assert!(within(consumer.recv()).await.is_err(), "it hears of it");
    until_it_is(&*bus, BusState::Away).await;
    assert_eq!(bus.watch().borrow().state, BusState::Up, "nothing was published, so publishing knows of nothing");
    proxy.open();
    until_it_is(&*bus, BusState::Up).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_has_stopped_taking_messages_is_said_at_once() {
    let (stage, proxy) = (Stage::new(), Proxy::start().await);
    let bus = stage.bus_through(&proxy.config(&stage.config), &[EventRole::Push]).await;
    // One is on its way, and does not arrive.
    proxy.hold(true, false);
    let waiting = tokio::spawn({
        let bus = bus.clone();
        async move { bus.publish(0, batch(1), TTL).await }
    });
    proxy.say(60, b"\x0alow on it\x01");
    until(&*bus, |status| status.state == BusState::Blocked).await;
    let begun = Instant::now();
    assert_eq!(within(bus.publish(0, batch(2), TTL)).await, Err(PublishError::Blocked));
    assert_eq!(within(bus.publish_events(vec![stage.event()])).await, Err(PublishError::Blocked));
    assert!(begun.elapsed() < SLACK, "{:?}", begun.elapsed());
    assert_eq!(within(waiting).await.expect("no panic"), Err(PublishError::Broken), "nobody can say");
    assert_eq!(*bus.watch().borrow(), BusStatus { state: BusState::Blocked, interruptions: 0 }, "the same connection");
    proxy.open();
    proxy.say(61, &[]);
    until(&*bus, is_up).await;
    within(bus.publish(0, batch(3), TTL)).await.expect("taken again");
    let mut consumer = within(bus.consume(0)).await.expect("a place");
    let taken: Vec<u64> = take(&mut consumer, 2).await.into_iter().map(|(number, _)| number).collect();
    assert_eq!(taken, [1, 3]);
}
