//! Who-is-where is lost, or a gateway is: nobody stays deaf, nothing is lost, everything is live again by itself.

use crate::world::{Socket, View, World, fresh, until};
use futures_util::future::join_all;
use serde_json::json;

/// Everybody says this many things; each is answered.
async fn chatter(socket: &mut Socket, conversation: &str, who: &str, count: usize) {
    for n in 0..count {
        socket.say(conversation, &format!("{who} {n}")).await;
    }
}

#[tokio::test]
async fn routing_is_wiped_while_people_talk() {
    let world = World::start().await;
    let people = world.people(["Ann", "Ben", "Cal"]).await;
    let [ann, ben, cal] = &people;
    let group = world.group(ann, &[ben, cal]).await;
    let mut clients = vec![];
    for (n, person) in people.iter().enumerate() {
        let mut socket = world.gateways[n % 2].connect(person).await;
        let view = View::begin(person, &mut socket).await;
        clients.push((socket, view));
    }
    let wipes = async {
        for said in [5, 20, 40] {
            until("some was said", async || world.number("SELECT last_seq FROM conversations", &[]).await >= said)
                .await;
            world.routing.wipe();
        }
    };
    let talk = join_all(clients.iter_mut().enumerate().map(|(n, (socket, _))| {
        let group = &group;
        async move { chatter(socket, group, &n.to_string(), 25).await }
    }));
    tokio::join!(wipes, talk);
    assert_eq!(world.stored(&group).await.len(), 75, "each once");
    for (socket, view) in &mut clients {
        view.settle(&world, socket).await;
        assert!(view.resyncs > 0, "told that something may be missing");
    }
    // Live again: the next word comes by itself.
    clients[0].0.say(&group, "still here?").await;
    for (socket, view) in &mut clients {
        view.follow(socket, |view| view.texts(&group).last() == Some(&"still here?")).await;
    }
}

#[tokio::test]
async fn an_inbox_is_lost_with_answers_in_it() {
    let world = World::start().await;
    let [ann, ben] = world.people(["Ann", "Ben"]).await;
    let direct = world.direct(&ann, &ben).await;
    let (mut here, mut there) = (world.gateways[0].connect(&ann).await, world.gateways[1].connect(&ben).await);
    let mut view = View::begin(&ann, &mut here).await;
    for round in 0..5 {
        let mut asked = vec![];
        for n in 0..20 {
            asked.push(
                here.begin("message.send", json!({ "conversation_id": direct, "body": format!("{round} {n:02}") }))
                    .await,
            );
        }
        world.routing.lose_inbox(world.gateways[0].app.batcher.gateway().unwrap().id);
        for re in asked {
            here.answer(re).await.unwrap();
        }
    }
    let stored = world.stored(&direct).await;
    assert!(stored.len() == 100 && stored.is_sorted(), "{stored:?}");
    view.settle(&world, &mut here).await;
    for _ in 0..100 {
        there.expect("message.created").await;
    }
    assert!(!there.names().contains(&"resync"), "the other gateway lost nothing");
}

#[tokio::test]
async fn while_routing_is_away_people_are_let_in_and_told_later() {
    let world = World::start().await;
    let [ann, ben] = world.people(["Ann", "Ben"]).await;
    let direct = world.direct(&ann, &ben).await;
    let mut here = world.gateways[0].connect(&ann).await;
    world.routing.set_away(true);
    let mut late = world.gateways[1].open().await;
    let hello = late.begin("hello", json!({ "token": ben.token })).await;
    let sent = here.begin("message.send", json!({ "conversation_id": direct, "body": "anybody?" })).await;
    assert_eq!(late.answer(hello).await.unwrap()["live"], false);
    assert_eq!(late.ok("conversation.list", json!({})).await["items"][0]["id"], direct.as_str(), "reading works");
    until("it is stored", async || world.number("SELECT last_seq FROM conversations", &[]).await == 1).await;
    world.routing.set_away(false);
    here.answer(sent).await.unwrap();
    late.expect("resync").await;
    let mut view = View::begin(&ben, &mut late).await;
    view.settle(&world, &mut late).await;
    here.say(&direct, "welcome").await;
    view.follow(&mut late, |view| view.texts(&direct) == ["anybody?", "welcome"]).await;
}

/// A gateway dies with commands in flight: its people go to another one and say again what was not answered.
#[tokio::test]
async fn a_gateway_is_killed_while_its_people_talk() {
    let mut world = World::start().await;
    let [ann, ben] = world.people(["Ann", "Ben"]).await;
    let direct = world.direct(&ann, &ben).await;
    let mut watching = world.gateways[1].connect(&ben).await;
    let mut ben_view = View::begin(&ben, &mut watching).await;
    let mut here = world.gateways[0].connect(&ann).await;
    let mut ann_view = View::begin(&ann, &mut here).await;
    let ids: Vec<String> = (0..60).map(|_| fresh()).collect();
    let send = |id: &String| json!({ "conversation_id": direct, "id": id, "body": id });
    let mut asked = vec![];
    for id in &ids[..30] {
        asked.push((id, here.begin("message.send", send(id)).await));
    }
    for (_, re) in asked.drain(..10) {
        here.answer(re).await.unwrap();
    }
    world.gateways.remove(0).kill();
    // What was answered is stored; of the rest nobody knows, and the same id is safe.
    let mut here = world.gateways[0].connect(&ann).await;
    for id in &ids[10..] {
        here.ok("message.send", send(id)).await;
    }
    assert_eq!(world.stored(&direct).await, ids, "each once, in the order said");
    ann_view.catch_up(&mut here).await;
    ann_view.settle(&world, &mut here).await;
    ben_view.settle(&world, &mut watching).await;
    assert_eq!(ben_view.resyncs, 0, "he was told everything live");
}
