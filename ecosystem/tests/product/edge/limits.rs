//! Limits that only a whole product reaches. `docs/limits.md` lists every limit with the test that reaches it.

use crate::world::{World, fresh, id};
use gateway::batcher::{Submission, Waiter};
use serde_json::json;
use shared::{
    command::Command,
    domain::{CommandId, ConversationId, GROUP_MEMBERS_MAX, IN_FLIGHT_BYTES_MAX, MessageId, SessionId},
};

#[tokio::test]
async fn a_person_asks_so_often_a_minute() {
    let world = World::set(&[("LIMIT_COMMANDS_PER_USER", "3")]).await;
    let [ann, ben] = world.people(["Ann", "Ben"]).await;
    let (mut socket, mut phone) = (world.gateways[0].connect(&ann).await, world.gateways[0].connect(&ann).await);
    // As many at once as in a minute, on all devices together; then one every twenty seconds.
    socket.ok("conversation.list", json!({})).await;
    phone.ok("conversation.list", json!({})).await;
    socket.ok("conversation.list", json!({})).await;
    let refused = socket.ask("conversation.list", json!({})).await.unwrap_err();
    assert_eq!(refused.code, "rate_limited");
    assert!((1..=20).contains(&refused.detail["retry_after"].as_u64().unwrap()), "{refused:?}");
    assert_eq!(
        phone.refused("message.send", json!({ "conversation_id": fresh(), "body": "hi" })).await,
        "rate_limited"
    );
    let rest = world.gateways[0].call("GET", "/v1/conversations", Some(&ann), None).await;
    assert_eq!((rest.status, rest.code().as_str()), (429, "rate_limited"));
    assert!(rest.header("retry-after").is_some());
    world.gateways[0].connect(&ben).await.ok("conversation.list", json!({})).await;
    let [cal] = world.people(["Cal"]).await;
    world.gateways[0].connect(&cal).await.ok("conversation.list", json!({})).await;
}

/// What waits for an answer is bounded for the gateway as a whole: beyond it nothing is begun, and that is said.
#[tokio::test]
async fn a_gateway_holds_so_much_that_waits_for_an_answer() {
    let world = World::set(&[]).await;
    let [ann, ben] = world.people(["Ann", "Ben"]).await;
    let direct = world.direct(&ann, &ben).await;
    let gateway = &world.gateways[0];
    let mut socket = gateway.connect(&ann).await;
    world.bus.set_away(true);
    // Somebody else's, in pieces that fit, until not even a small one does.
    let mut waiting = vec![];
    for piece in [1 << 20, 1 << 14, 1 << 10] {
        loop {
            let (sender, answer) = tokio::sync::oneshot::channel();
            let (conversation_id, message_id) = (ConversationId::new(), MessageId::new());
            let command = Command::Edit { conversation_id, message_id, body: "x".repeat(piece).into() };
            let (actor, session) = (ben.user(), SessionId::new());
            let submission = Submission { id: CommandId::new(), actor, session, request_id: "test".into(), command };
            if gateway.app.batcher.submit(submission, Waiter::Rest(sender)).is_err() {
                break;
            }
            waiting.push(answer);
            assert!(waiting.len() <= IN_FLIGHT_BYTES_MAX / piece + 128, "without a bound");
        }
    }
    let message = json!({ "conversation_id": direct, "body": "x".repeat(16 * 1024) });
    let refused = socket.ask("message.send", message.clone()).await.unwrap_err();
    assert_eq!((refused.code.as_str(), &refused.detail["retry_after"]), ("overloaded", &json!(1)));
    let rest = gateway.rest(&ann, "message.send", message.clone()).await;
    assert_eq!((rest.status, rest.code().as_str()), (503, "overloaded"));
    socket.ok("conversation.list", json!({})).await;
    world.bus.set_away(false);
    for answer in waiting {
        answer.await.unwrap();
    }
    socket.ok("message.send", message).await;
}

#[tokio::test]
async fn a_group_has_at_most_5000_members() {
    let world = World::set(&[]).await;
    let ann = world.person("Ann").await;
    let group = world.group(&ann, &[]).await;
    let fill = "WITH u AS (INSERT INTO users (id, username, username_key, email, email_key, password_hash, display_name)
            SELECT gen_random_uuid(), n, n, n, n, 'none', n FROM generate_series(1, $2::bigint) AS g(i), text(i) AS n RETURNING id),
        m AS (INSERT INTO members (conversation_id, user_id) SELECT $1, id FROM u)
        UPDATE conversations SET member_count = $2 + 1, member_version = member_version + 1 WHERE id = $1";
    world.run(fill, &[&id(&group), &(GROUP_MEMBERS_MAX as i64 - 3)]).await;
    let three = world.people(["One", "Two", "Three"]).await;
    let mut socket = world.gateways[0].connect(&ann).await;
    let add = |people: &[usize]| {
        let ids: Vec<&String> = people.iter().map(|n| &three[*n].id).collect();
        json!({ "conversation_id": group, "user_ids": ids })
    };
    assert_eq!(socket.refused("member.add", add(&[0, 1, 2])).await, "invalid", "one too many, so none");
    socket.ok("member.add", add(&[0, 1])).await;
    assert_eq!(socket.refused("member.add", add(&[2])).await, "invalid");
    assert_eq!(socket.ok("conversation.get", json!({ "conversation_id": group })).await["member_count"], 5000);
    // Five thousand are told, those who are here at least.
    let mut there = world.gateways[0].connect(&three[1]).await;
    socket.say(&group, "hello, all").await;
    there.expect("message.created").await;
}

#[tokio::test]
async fn at_most_a_hundred_are_added_or_begin_at_once() {
    let world = World::set(&[]).await;
    let ann = world.person("Ann").await;
    let group = world.group(&ann, &[]).await;
    let people = futures_util::future::join_all((0..101).map(|_| world.person("one of many"))).await;
    let ids: Vec<&String> = people.iter().map(|person| &person.id).collect();
    let mut socket = world.gateways[0].connect(&ann).await;
    let add = |count: usize| json!({ "conversation_id": group, "user_ids": ids[..count] });
    assert_eq!(socket.refused("member.add", add(101)).await, "invalid");
    assert_eq!(world.gateways[0].rest(&ann, "member.add", add(101)).await.status, 400);
    assert_eq!(socket.ok("member.add", add(100)).await["members"].as_array().unwrap().len(), 100);
    let begin = |count: usize| json!({ "kind": "group", "title": "T", "member_ids": ids[..count] });
    assert_eq!(socket.refused("conversation.create", begin(101)).await, "invalid");
    let begun = socket.ok("conversation.create", begin(100)).await["conversation"].clone();
    assert_eq!((&begun["member_count"], begun["members"].as_array().unwrap().len()), (&json!(101), 10));
    let page = socket.ok("member.list", json!({ "conversation_id": begun["id"], "limit": 100 })).await;
    assert_eq!(page["items"].as_array().unwrap().len(), 100);
    assert_eq!(socket.refused("member.list", json!({ "conversation_id": begun["id"], "limit": 101 })).await, "invalid");
}
