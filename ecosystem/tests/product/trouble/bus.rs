//! The bus loses its connections or doubles and delays what it carries, workers die and others take over: every command
//! is answered, nothing is stored twice, nothing is applied twice.

use crate::world::{Person, Socket, View, World, fresh, until};
use serde_json::json;
use shared::bus::local::Faults;
use std::time::{Duration, Instant};

/// Twenty-five at a time are on their way, all are answered; what was said, in order.
async fn talk(socket: &mut Socket, conversation: &str, who: &str, count: usize) -> Vec<String> {
    let mut asked = std::collections::VecDeque::new();
    let mut said = vec![];
    for n in 0..count {
        let body = format!("{who} {n:03}");
        asked.push_back(socket.begin("message.send", json!({ "conversation_id": conversation, "body": body })).await);
        said.push(body);
        if asked.len() > 25 {
            socket.answer(asked.pop_front().unwrap()).await.unwrap();
        }
    }
    for re in asked {
        socket.answer(re).await.unwrap();
    }
    said
}

/// Each person's words are all there, once, and in the order said.
async fn assert_all_stored(world: &World, conversation: &str, said: &[Vec<String>]) {
    let stored = world.stored(conversation).await;
    assert_eq!(stored.len(), said.iter().map(Vec::len).sum::<usize>());
    for words in said {
        let own: Vec<&String> = stored.iter().filter(|body| body[..1] == words[0][..1]).collect();
        assert_eq!(own, words.iter().collect::<Vec<_>>());
    }
}

async fn pair(world: &World, ann: &Person, ben: &Person) -> (Socket, Socket, View, View) {
    let (mut here, mut there) = (world.gateways[0].connect(ann).await, world.gateways[1].connect(ben).await);
    let (ann_view, ben_view) = (View::begin(ann, &mut here).await, View::begin(ben, &mut there).await);
    (here, there, ann_view, ben_view)
}

/// Does it when this much has been stored, again and again while both talk; then compares what everybody sees.
async fn while_both_talk(world: &mut World, mut trouble: impl AsyncFnMut(&mut World)) {
    let [ann, ben] = world.people(["Ann", "Ben"]).await;
    let direct = world.direct(&ann, &ben).await;
    let (mut here, mut there, mut ann_view, mut ben_view) = pair(world, &ann, &ben).await;
    let troubles = async {
        for stored in [10, 60, 110, 160] {
            until("some is stored", async || world.number("SELECT last_seq FROM conversations", &[]).await >= stored)
                .await;
            trouble(world).await;
        }
    };
    let (_, one, two) = tokio::join!(troubles, talk(&mut here, &direct, "a", 120), talk(&mut there, &direct, "b", 120));
    assert_all_stored(world, &direct, &[one, two]).await;
    ann_view.settle(world, &mut here).await;
    ben_view.settle(world, &mut there).await;
}

#[tokio::test]
async fn the_bus_loses_its_consumers() {
    while_both_talk(&mut World::start().await, async |world| world.bus.lose_consumers()).await;
}

/// Commands that were taken and are lost with the broker are published again at once, not when their time is up.
#[tokio::test]
async fn the_bus_forgets_everything() {
    let begun = Instant::now();
    while_both_talk(&mut World::start().await, async |world| world.bus.restart()).await;
    // Four losses that were mended by time alone would take five seconds each.
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn the_bus_takes_nothing_for_a_while() {
    while_both_talk(&mut World::start().await, async |world| {
        world.bus.set_away(true);
        let unanswered = || world.gateways.iter().map(|gateway| gateway.app.batcher.unanswered()).sum::<usize>();
        let stored = async || world.number("SELECT last_seq FROM conversations", &[]).await as usize;
        // Near the end there are fewer left to wait.
        until("commands wait", async || unanswered() > 20 || stored().await + unanswered() >= 240).await;
        world.bus.set_away(false);
    })
    .await;
}

#[tokio::test]
async fn a_broker_that_is_short_of_memory_is_no_reason_to_wait() {
    let world = World::start().await;
    let [ann, ben] = world.people(["Ann", "Ben"]).await;
    let direct = world.direct(&ann, &ben).await;
    let mut socket = world.gateways[0].connect(&ann).await;
    let message = json!({ "conversation_id": direct, "id": fresh(), "body": "hi" });
    world.bus.set_blocked(true);
    let told = socket.ask("message.send", message.clone()).await.unwrap_err();
    assert_eq!((told.code.as_str(), &told.detail["retry_after"]), ("overloaded", &json!(5)));
    world.bus.set_blocked(false);
    socket.ok("message.send", message).await;
    assert_eq!(world.stored(&direct).await, ["hi"]);
}

#[tokio::test]
async fn a_worker_is_killed_and_another_takes_over() {
    while_both_talk(&mut World::start().await, async |world| {
        drop(world.worker.take());
        world.start_worker().await;
    })
    .await;
}

#[tokio::test]
async fn a_worker_stops_in_order_while_another_stands_by() {
    while_both_talk(&mut World::start().await, async |world| {
        let first = world.worker.take().unwrap();
        world.start_worker().await;
        first.stop().await;
    })
    .await;
}

#[tokio::test]
async fn what_is_delivered_twice_and_late_is_applied_once() {
    let faults = Faults { duplicate_every: Some(2), late: Some(Duration::from_millis(150)) };
    let world = World::with(2, &[], faults).await;
    let [ann, ben, cal] = world.people(["Ann", "Ben", "Cal"]).await;
    let group = world.group(&ann, &[&ben]).await;
    let (mut here, mut there, mut ann_view, mut ben_view) = pair(&world, &ann, &ben).await;
    let begun = Instant::now();
    let (mut said, mut rounds) = (0, 0);
    let member = json!({ "conversation_id": group, "user_id": cal.id });
    // Longer than the latest copy takes.
    while begun.elapsed() < Duration::from_millis(600) {
        rounds += 1;
        here.ok("member.add", json!({ "conversation_id": group, "user_ids": [cal.id] })).await;
        let message = here.say(&group, "first").await;
        there.say(&group, "answer").await;
        said += 2;
        let edit = |body: &str| json!({ "conversation_id": group, "message_id": message["id"], "body": body });
        here.ok("message.edit", edit("A")).await;
        here.ok("message.edit", edit("B")).await;
        here.ok("member.remove", member.clone()).await;
    }
    // And until what is on its way behind the last of them has come.
    let last = Instant::now();
    while last.elapsed() < Duration::from_millis(300) {
        here.say(&group, "more").await;
        said += 1;
    }
    let stored = world.stored(&group).await;
    assert_eq!(stored.len(), said);
    assert_eq!(stored.iter().filter(|body| *body == "B").count(), rounds, "the last edit stays");
    let revs = world.number("SELECT last_rev FROM conversations", &[]).await;
    assert_eq!(revs, 4 * rounds as i64, "each change once");
    let is_member = "SELECT count(*) FROM members WHERE user_id = $1";
    assert_eq!(world.number(is_member, &[&cal.user().0]).await, 0, "a late copy of the adding brings nobody back");
    for (view, socket) in [(&mut ann_view, &mut here), (&mut ben_view, &mut there)] {
        view.settle(&world, socket).await;
        assert_eq!(view.resyncs, 0);
    }
}
