//! Who types, and who is here: told to those it concerns, kept by nobody.

use crate::world::{Person, Socket, World, fresh, until};
use serde_json::{Value, json};
use shared::routing::Routing;

async fn state(socket: &mut Socket, person: &Person) -> bool {
    let answer = socket.ok("presence.watch", json!({ "user_ids": [person.id] })).await;
    assert_eq!(answer["presence"][0]["user_id"], person.id);
    answer["presence"][0]["online"].as_bool().unwrap()
}

fn typing(conversation: &str, typing: bool) -> Value {
    json!({ "conversation_id": conversation, "typing": typing })
}

#[tokio::test]
async fn the_others_see_who_types() {
    let world = World::start().await;
    let [ann, ben, eve] = world.people(["Ann", "Ben", "Eve"]).await;
    let direct = world.direct(&ann, &ben).await;
    let (here, there) = (&world.gateways[0], &world.gateways[1]);
    let (mut writer, mut phone) = (here.connect(&ann).await, there.connect(&world.another_login(&ann).await).await);
    let (mut reader, mut stranger) = (there.connect(&ben).await, there.connect(&eve).await);
    // The same word at once is not passed on, another one is.
    for re in writer.begin_together(vec![("typing", typing(&direct, true)); 5]).await {
        writer.answer(re).await.unwrap();
    }
    let event = reader.expect("typing").await;
    assert_eq!(event["conversation_id"], direct.as_str());
    assert_eq!(event["data"], json!({ "user_id": ann.id, "typing": true, "expires_ms": 6000 }));
    writer.ok("typing", typing(&direct, false)).await;
    assert_eq!(reader.expect("typing").await["data"]["typing"], false);
    assert_eq!(stranger.refused("typing", typing(&direct, true)).await, "not_found");
    writer.say(&direct, "hi").await;
    reader.expect("message.created").await;
    assert_eq!(reader.names(), Vec::<&str>::new());
    phone.expect("message.created").await;
    assert_eq!(phone.names(), Vec::<&str>::new(), "one's own typing is no news");
    let with_eve = world.direct(&ann, &eve).await;
    writer.say(&with_eve, "hi").await;
    stranger.expect_in(&with_eve, "message.created").await;
    assert_eq!(stranger.names(), ["conversation.created"]);
}

#[tokio::test]
async fn a_person_is_here_until_the_last_device_has_left_for_a_while() {
    let world = World::with(2, &[("PRESENCE_GRACE_SECONDS", "3")], Default::default()).await;
    let [ann, ben] = world.people(["Ann", "Ben"]).await;
    world.direct(&ann, &ben).await;
    let mut watcher = world.gateways[0].connect(&ann).await;
    assert!(!state(&mut watcher, &ben).await);
    let first = world.gateways[0].connect(&ben).await;
    let event = watcher.expect("presence").await;
    assert_eq!((&event["data"]["user_id"], &event["data"]["online"]), (&json!(ben.id), &json!(true)));
    let second = world.gateways[1].connect(&ben).await;
    drop(first);
    // Away and back within the grace, on the other gateway.
    drop(second);
    let third = world.gateways[1].connect(&ben).await;
    assert!(state(&mut watcher, &ben).await);
    drop(third);
    let event = watcher.expect("presence").await;
    assert_eq!((&event["data"]["user_id"], &event["data"]["online"]), (&json!(ben.id), &json!(false)), "told once");
    assert!(event["data"]["last_seen"].is_string());
    assert!(!state(&mut watcher, &ben).await);

    // Who does not want to hear it any more does not.
    watcher.ok("presence.unwatch", json!({ "user_ids": [ben.id] })).await;
    let mut back = world.gateways[1].connect(&ben).await;
    let direct = world.direct(&ann, &ben).await;
    back.say(&direct, "back").await;
    watcher.expect("message.created").await;
    assert_eq!(watcher.names(), Vec::<&str>::new());
}

#[tokio::test]
async fn only_who_shares_a_conversation_may_watch() {
    let world = World::start().await;
    let [ann, ben, eve] = world.people(["Ann", "Ben", "Eve"]).await;
    let direct = world.direct(&ann, &ben).await;
    let mut stranger = world.gateways[0].connect(&eve).await;
    let asked = json!({ "user_ids": [ann.id, ben.id, fresh(), eve.id] });
    let answer = stranger.ok("presence.watch", asked).await;
    assert_eq!(answer["presence"].as_array().unwrap().len(), 1, "herself alone: {answer}");
    let mut here = world.gateways[1].connect(&ann).await;
    here.say(&direct, "hi").await;
    let with_eve = world.direct(&ann, &eve).await;
    here.say(&with_eve, "now we have met").await;
    stranger.expect("message.created").await;
    assert!(!stranger.names().contains(&"presence"));
    assert!(state(&mut stranger, &ann).await, "now she may");
}

/// Two hundred at most, however they are asked for.
#[tokio::test]
async fn a_session_watches_at_most_200_people() {
    let world = World::set(&[]).await;
    let ann = world.person("Ann").await;
    let others = futures_util::future::join_all((0..201).map(|_| world.person("known"))).await;
    let ids: Vec<uuid::Uuid> = others.iter().map(|person| person.user().0).collect();
    let group = world.group(&ann, &[]).await;
    let join = "INSERT INTO members (conversation_id, user_id) SELECT $1, unnest($2::uuid[])";
    world.run(join, &[&crate::world::id(&group), &ids]).await;
    let mut socket = world.gateways[0].connect(&ann).await;
    let watch = |from: usize, to: usize| json!({ "user_ids": ids[from..to] });
    assert_eq!(socket.refused("presence.watch", watch(0, 201)).await, "invalid");
    // Asked for before the first answer came: still no more than two hundred.
    let asked =
        socket.begin_together(vec![("presence.watch", watch(0, 150)), ("presence.watch", watch(50, 201))]).await;
    let answers = [socket.answer(asked[0]).await, socket.answer(asked[1]).await];
    let refused = answers.iter().filter(|answer| answer.is_err()).count();
    assert_eq!(refused, 1, "one of them");
    socket.ok("presence.unwatch", watch(0, 201)).await;
    socket.ok("presence.watch", watch(0, 150)).await;
    // Those it watches already count once.
    let known = socket.ok("presence.watch", watch(50, 200)).await;
    assert_eq!(known["presence"].as_array().unwrap().len(), 150);
    assert_eq!(socket.refused("presence.watch", watch(200, 201)).await, "invalid");
    socket.ok("presence.unwatch", watch(0, 1)).await;
    socket.ok("presence.watch", watch(200, 201)).await;
}

/// Whoever has just joined may be heard at once, although the list of members was read before.
#[tokio::test]
async fn a_new_member_types() {
    let world = World::set(&[]).await;
    let [ann, ben] = world.people(["Ann", "Ben"]).await;
    let group = world.group(&ann, &[]).await;
    let gateway = &world.gateways[0];
    let (mut here, mut there) = (gateway.connect(&ann).await, gateway.connect(&ben).await);
    here.ok("typing", typing(&group, true)).await;
    assert_eq!(there.refused("typing", typing(&group, true)).await, "not_found");
    here.ok("member.add", json!({ "conversation_id": group, "user_ids": [ben.id] })).await;
    there.ok("typing", typing(&group, true)).await;
    assert_eq!(here.expect("typing").await["data"]["user_id"], ben.id);
}

/// Whoever has just been removed is not heard, and hears nobody, although the list of members was read before.
#[tokio::test]
async fn who_was_removed_types_no_more() {
    let world = World::start().await;
    let [ann, ben] = world.people(["Ann", "Ben"]).await;
    let group = world.group(&ann, &[&ben]).await;
    let (mut here, mut there) = (world.gateways[0].connect(&ann).await, world.gateways[1].connect(&ben).await);
    there.ok("typing", typing(&group, true)).await;
    here.expect("typing").await;
    here.ok("typing", typing(&group, true)).await;
    there.expect("typing").await;
    here.ok("member.remove", json!({ "conversation_id": group, "user_id": ben.id })).await;
    there.expect("member.removed").await;
    assert_eq!(there.refused("typing", typing(&group, false)).await, "not_found");
    here.ok("typing", typing(&group, false)).await;
    let direct = world.direct(&ann, &ben).await;
    here.say(&direct, "last").await;
    there.expect_in(&direct, "message.created").await;
    assert!(!there.names().contains(&"typing"), "{:?}", there.names());
}

/// Whoever shares no conversation any more hears nothing more, from either side; whoever shares another one does.
#[tokio::test]
async fn a_watch_ends_with_the_last_conversation_in_common() {
    let world = World::with(2, &[("PRESENCE_GRACE_SECONDS", "1")], Default::default()).await;
    let [ann, ben, eve] = world.people(["Ann", "Ben", "Eve"]).await;
    let group = world.group(&ann, &[&ben, &eve]).await;
    world.direct(&ann, &eve).await;
    let (here, there) = (&world.gateways[0], &world.gateways[1]);
    let (mut ann_here, mut ben_there, mut eve_there) =
        (here.connect(&ann).await, there.connect(&ben).await, there.connect(&eve).await);
    assert!(state(&mut ann_here, &ben).await && state(&mut ann_here, &eve).await && state(&mut ben_there, &ann).await);
    for person in [&ben, &eve] {
        ann_here.ok("member.remove", json!({ "conversation_id": group, "user_id": person.id })).await;
    }
    ben_there.expect_in(&group, "member.removed").await;
    eve_there.expect_in(&group, "member.removed").await;
    let watched = async || {
        let watchers = world.routing.watchers(&[ann.user(), ben.user(), eve.user()]).await.unwrap();
        watchers.iter().map(|gateways| !gateways.is_empty()).collect::<Vec<_>>()
    };
    until("those who share nothing are watched no more", async || watched().await[..2] == [false, false]).await;
    assert!(watched().await[2], "they still talk with each other");
    drop((ben_there, eve_there));
    let event = ann_here.expect("presence").await;
    assert_eq!((&event["data"]["user_id"], &event["data"]["online"]), (&json!(eve.id), &json!(false)));
    assert!(!ann_here.names().contains(&"presence"), "Ben left first: {:?}", ann_here.names());
}
