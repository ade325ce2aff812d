//! A gateway leaves in order: it tells everybody when to come back, finishes what is in flight, and takes nobody new.

use crate::world::{View, World, request, until};
use serde_json::json;
use std::time::Instant;

#[tokio::test]
async fn a_gateway_drains() {
    let mut world = World::with(2, &[("DRAIN_SECONDS", "60")], Default::default()).await;
    let [ann, ben] = world.people(["Ann", "Ben"]).await;
    let direct = world.direct(&ann, &ben).await;
    let (mut here, mut there) = (world.gateways[0].connect(&ann).await, world.gateways[1].connect(&ben).await);
    let (mut view, mut ben_view) = (View::begin(&ann, &mut here).await, View::begin(&ben, &mut there).await);
    // One that has not said hello yet leaves as well.
    let mut silent = world.gateways[0].open().await;
    world.bus.set_away(true);
    let mut asked = vec![];
    for n in 0..10 {
        asked.push(here.begin("message.send", json!({ "conversation_id": direct, "body": n.to_string() })).await);
    }
    until("they are in flight", async || world.gateways[0].app.batcher.unanswered() == 10).await;

    let (begun, address) = (Instant::now(), world.gateways[0].address);
    let ended = world.gateways[0].drain();
    let hint = here.expect("reconnect").await["data"]["after_ms"].as_u64().unwrap();
    assert!(hint <= 30_000, "within half of the time there is: {hint}");
    // Nobody new, not even to ask whether it is ready.
    until("nothing is accepted", async || request(address, "GET", "/health/ready", &[], "").await.is_err()).await;
    world.bus.set_away(false);
    for re in asked {
        here.answer(re).await.unwrap();
    }
    assert_eq!(here.closed().await, 1012);
    silent.expect("reconnect").await;
    assert_eq!(silent.closed().await, 1012);
    ended.await.unwrap();
    assert!(begun.elapsed().as_secs() < 60, "it does not wait for its deadline");

    let mut back = world.gateways[1].connect(&ann).await;
    view.catch_up(&mut back).await;
    view.settle(&world, &mut back).await;
    ben_view.settle(&world, &mut there).await;
    assert_eq!(world.stored(&direct).await.len(), 10);
    assert_eq!(ben_view.resyncs, 0);
}

/// The others have gone long since; whoever waits for an answer gets it first.
#[tokio::test]
async fn who_waits_for_an_answer_leaves_with_it() {
    let mut world = World::set(&[("DRAIN_SECONDS", "10")]).await;
    let ann = world.person("Ann").await;
    let mut others = vec![];
    for _ in 0..4 {
        others.push(world.gateways[0].connect(&ann).await);
    }
    world.bus.set_away(true);
    let group = crate::world::fresh();
    let create = json!({ "id": group, "kind": "group", "title": "T" });
    let asked = others[0].begin("conversation.create", create).await;
    until("it is in flight", async || world.gateways[0].app.batcher.unanswered() == 1).await;
    let ended = world.gateways[0].drain();
    for socket in &mut others[1..] {
        assert_eq!(socket.closed().await, 1012);
    }
    world.bus.set_away(false);
    assert_eq!(others[0].answer(asked).await.unwrap()["conversation"]["id"], group.as_str());
    assert_eq!(others[0].closed().await, 1012);
    ended.await.unwrap();
}

/// When the time is over the rest is closed all the same.
#[tokio::test]
async fn a_drain_ends_at_its_deadline() {
    let mut world = World::set(&[("DRAIN_SECONDS", "1")]).await;
    let [ann, ben] = world.people(["Ann", "Ben"]).await;
    let direct = world.direct(&ann, &ben).await;
    let mut here = world.gateways[0].connect(&ann).await;
    world.bus.set_away(true);
    here.begin("message.send", json!({ "conversation_id": direct, "body": "in vain" })).await;
    until("it is in flight", async || world.gateways[0].app.batcher.unanswered() == 1).await;
    let ended = world.gateways[0].drain();
    assert_eq!(here.closed().await, 1012);
    ended.await.unwrap();
    assert!(
        !here.waiting().any(|frame| frame["re"] == 1 && frame["ok"].is_object() && frame["ok"]["message"].is_object())
    );
}
