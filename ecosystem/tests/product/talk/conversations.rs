//! Conversations begin, are listed, renamed and closed.

use crate::world::{View, World, fresh};
use serde_json::{Value, json};

#[tokio::test]
async fn two_who_ask_at_the_same_moment_get_one_direct_conversation() {
    let world = World::start().await;
    for _ in 0..5 {
        let [ann, ben] = world.people(["Ann", "Ben"]).await;
        let (mut here, mut there) = (world.gateways[0].connect(&ann).await, world.gateways[1].connect(&ben).await);
        let ask = |with: &str| json!({ "kind": "direct", "member_ids": [with] });
        let (left, right) =
            tokio::join!(here.ask("conversation.create", ask(&ben.id)), there.ask("conversation.create", ask(&ann.id)));
        let (left, right) = (left.unwrap(), right.unwrap());
        assert_eq!(left["conversation"]["id"], right["conversation"]["id"]);
        for socket in [&mut here, &mut there] {
            let event = socket.expect("conversation.created").await;
            assert_eq!(
                (&event["urev"], &event["data"]["conversation"]["id"]),
                (&json!(1), &left["conversation"]["id"])
            );
            assert!(!socket.names().contains(&"conversation.created"), "told once");
        }
        let again = world.gateways[1].rest(&ann, "conversation.create", ask(&ben.id)).await.expect(200);
        assert_eq!(again["id"], left["conversation"]["id"]);
        let members = "SELECT count(*) FROM members WHERE user_id = $1";
        assert_eq!(world.number(members, &[&ann.user().0]).await, 1);
    }
}

#[tokio::test]
async fn a_group_is_begun_renamed_and_closed() {
    let world = World::start().await;
    let [ann, ben] = world.people(["Ann", "Ben"]).await;
    let (mut here, mut there) = (world.gateways[0].connect(&ann).await, world.gateways[1].connect(&ben).await);
    let ask = json!({ "id": fresh(), "kind": "group", "title": "Climbers", "member_ids": [ben.id] });
    let made = here.ok("conversation.create", ask.clone()).await["conversation"].clone();
    let group = made["id"].as_str().unwrap();
    assert_eq!((&made["id"], &made["title"], &made["member_count"]), (&ask["id"], &ask["title"], &json!(2)));
    assert_eq!(here.ok("conversation.create", ask.clone()).await["conversation"]["id"], made["id"], "again: the same");
    assert_eq!(there.refused("conversation.create", ask).await, "id_conflict", "the id is Ann's");
    assert_eq!(there.expect("conversation.created").await["data"]["conversation"]["title"], "Climbers");

    let title = |title: &str| json!({ "conversation_id": group, "title": title });
    here.ok("conversation.update", title("Walkers")).await;
    let event = there.expect("conversation.updated").await;
    assert_eq!((&event["rev"], &event["data"]["conversation"]["title"]), (&json!(1), &json!("Walkers")));
    here.ok("conversation.update", title("Walkers")).await;
    assert_eq!(here.ok("conversation.get", json!({ "conversation_id": group })).await["rev"], 1, "nothing changed");

    here.say(group, "the last word").await;
    here.ok("conversation.delete", json!({ "conversation_id": group })).await;
    assert_eq!(there.expect_in(group, "conversation.deleted").await["rev"], 2);
    assert_eq!(there.refused("message.send", json!({ "conversation_id": group, "body": "?" })).await, "closed");
    assert_eq!(here.refused("member.add", json!({ "conversation_id": group, "user_ids": [ben.id] })).await, "closed");
    assert_eq!(
        there.ok("message.list", json!({ "conversation_id": group })).await["items"][0]["body"],
        "the last word"
    );
    assert_eq!(there.ok("conversation.list", json!({})).await["items"], json!([]));
}

#[tokio::test]
async fn the_list_shows_what_moved_last_first() {
    let world = World::set(&[]).await;
    let [ann, ben] = world.people(["Ann", "Ben"]).await;
    let mut groups = vec![];
    for _ in 0..5 {
        groups.push(world.group(&ann, &[&ben]).await);
    }
    let mut socket = world.gateways[0].connect(&ben).await;
    world.gateways[0].connect(&ann).await.say(&groups[1], "news").await;
    let expected: Vec<&String> = [1, 4, 3, 2, 0].iter().map(|n| &groups[*n]).collect();
    let (mut seen, mut cursor) = (vec![], Value::Null);
    for _ in 0..3 {
        let mut ask = json!({ "limit": 2 });
        if !cursor.is_null() {
            ask["cursor"] = cursor;
        }
        let page = socket.ok("conversation.list", ask.clone()).await;
        assert_eq!(world.gateways[0].rest(&ben, "conversation.list", ask).await.expect(200), page);
        seen.extend(page["items"].as_array().unwrap().clone());
        cursor = page["next"].clone();
    }
    assert!(cursor.is_null());
    assert_eq!(seen.iter().map(|item| item["id"].as_str().unwrap()).collect::<Vec<_>>(), expected);
    assert_eq!((&seen[0]["last_message"]["body"], &seen[0]["unread"]), (&json!("news"), &json!(1)));
    assert_eq!(seen[1]["me"]["role"], "member");
}

#[tokio::test]
async fn what_cannot_be_begun_is_refused() {
    let world = World::set(&[]).await;
    let [ann, ben, cal] = world.people(["Ann", "Ben", "Cal"]).await;
    let mut socket = world.gateways[0].connect(&ann).await;
    let direct = world.direct(&ann, &ben).await;
    let group = |members: Value| json!({ "kind": "group", "title": "T", "member_ids": members });
    let wrong = [
        (json!({ "kind": "direct", "member_ids": [ann.id] }), "invalid"),
        (json!({ "kind": "direct", "member_ids": [ben.id, cal.id] }), "invalid"),
        (json!({ "kind": "direct", "member_ids": [fresh()] }), "invalid"),
        (json!({ "kind": "direct", "member_ids": [ben.id], "title": "T" }), "invalid"),
        (json!({ "kind": "group", "member_ids": [] }), "invalid"),
        (group(json!([ben.id, fresh()])), "invalid"),
        (json!({ "kind": "group", "title": "T", "id": direct }), "invalid"),
        (json!({ "kind": "channel", "title": "T" }), "invalid"),
    ];
    for (ask, code) in wrong {
        assert_eq!(socket.refused("conversation.create", ask.clone()).await, code, "{ask}");
        let rest = world.gateways[0].rest(&ann, "conversation.create", ask.clone()).await;
        assert_eq!((rest.status, rest.code().as_str()), (400, code), "{ask}");
    }
    assert_eq!(world.number("SELECT count(*) FROM conversations", &[]).await, 1, "refused leaves nothing behind");
    assert_eq!(socket.refused("conversation.leave", json!({ "conversation_id": direct })).await, "forbidden");
    let add = json!({ "conversation_id": direct, "user_ids": [cal.id] });
    assert_eq!(socket.refused("member.add", add).await, "forbidden");
}

/// Events of one's own stream come from several conversations, so a later one may overtake: each comes, and comes once.
#[tokio::test]
async fn many_conversations_begin_at_once() {
    let world = World::start().await;
    let [ann, ben] = world.people(["Ann", "Ben"]).await;
    let (mut here, mut there) = (world.gateways[0].connect(&ann).await, world.gateways[1].connect(&ben).await);
    let (mut live, mut phone) = (world.gateways[1].connect(&ben).await, View::begin(&ben, &mut there).await);
    let begin = json!({ "kind": "group", "title": "One of many", "member_ids": [ben.id] });
    let mut asked = vec![];
    for _ in 0..100 {
        asked.push(here.begin("conversation.create", begin.clone()).await);
    }
    for re in asked {
        here.answer(re).await.unwrap();
    }
    let mut urevs = vec![];
    while urevs.len() < 100 {
        urevs.push(live.expect("conversation.created").await["urev"].as_i64().unwrap());
    }
    urevs.sort_unstable();
    assert_eq!(urevs, (1..=100).collect::<Vec<_>>());
    phone.settle(&world, &mut there).await;
}
