//! The native protocol: what is wrong in a request is said and the session lives; what a session may choose and hear.

use crate::world::{World, fresh, until};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

#[tokio::test]
async fn a_wrong_request_is_refused_and_the_session_lives() {
    let world = World::set(&[]).await;
    let [ann, ben] = world.people(["Ann", "Ben"]).await;
    let direct = world.direct(&ann, &ben).await;
    let mut socket = world.gateways[0].connect(&ann).await;
    let send = |more: &str| format!(r#"{{"id":9,"cmd":"message.send","data":{{"conversation_id":"{direct}"{more}}}}}"#);
    let deep = format!(r#"{{"id":9,"cmd":"sync","data":{}{}}}"#, r#"{"x":"#.repeat(40), "}".repeat(40));
    // What is said, under which number it is answered, and the code.
    let cases = [
        ("nonsense".to_owned(), json!(null), "malformed"),
        ("[]".to_owned(), json!(null), "malformed"),
        (r#"{"id":9}"#.to_owned(), json!(null), "invalid"),
        (r#"{"id":"9","cmd":"sync"}"#.to_owned(), json!(null), "invalid"),
        (r#"{"id":-9,"cmd":"sync"}"#.to_owned(), json!(null), "invalid"),
        (r#"{"id":9,"cmd":"sync","more":1}"#.to_owned(), json!(null), "invalid"),
        (r#"{"cmd":"conversation.list"}"#.to_owned(), json!(null), "invalid"),
        (r#"{"id":9,"cmd":"message.shout","data":{}}"#.to_owned(), json!(9), "unsupported"),
        (r#"{"id":9,"cmd":"message.send","data":[]}"#.to_owned(), json!(9), "malformed"),
        (send(""), json!(9), "invalid"),
        (send(r#","body":"""#), json!(9), "invalid"),
        (send(r#","body":7"#), json!(9), "invalid"),
        (send(r#","body":"hi","bold":true"#), json!(9), "invalid"),
        (send(r#","body":"hi","body":"ho""#), json!(9), "invalid"),
        (send(r#","body":"n\u0000l""#), json!(null), "malformed"),
        (send(r#","body":"hi","id":"7""#), json!(9), "invalid"),
        (send(r#","body":"hi","kind":"system""#), json!(9), "invalid"),
        (deep, json!(null), "malformed"),
        (send(&format!(r#","body":"{}""#, "x".repeat(65_536))), json!(null), "too_large"),
        (send(&format!(r#","body":"{}""#, "x".repeat(16 * 1024 + 1))), json!(9), "invalid"),
    ];
    for (text, re, code) in cases {
        socket.text(text.clone()).await;
        let answer = socket.next().await;
        let shown: String = text.chars().take(100).collect();
        assert_eq!((&answer["re"], &answer["error"]["code"]), (&re, &json!(code)), "{shown}: {answer}");
    }
    socket.text(send(&format!(r#","body":"{}""#, "x".repeat(16 * 1024)))).await;
    socket.expect("message.created").await;
    assert_eq!(socket.next().await["re"], 9, "the largest body passes, and numbers may be used again");
    // A sign of life has no answer.
    socket.text(r#"{"cmd":"heartbeat"}"#).await;
    socket.ok("conversation.list", json!({})).await;
    assert_eq!(socket.waiting().count(), 0);
    assert_eq!(world.stored(&direct).await.len(), 1);
    socket.send(Message::binary(vec![1, 2, 3])).await;
    assert_eq!(socket.closed().await, 1003);
}

/// More than 32 without an answer are not read until there is room: nothing is refused, nothing is lost.
#[tokio::test]
async fn more_than_32_commands_in_flight_wait_their_turn() {
    let world = World::set(&[]).await;
    let [ann, ben] = world.people(["Ann", "Ben"]).await;
    let direct = world.direct(&ann, &ben).await;
    let gateway = &world.gateways[0];
    let (mut socket, mut other) = (gateway.connect(&ann).await, gateway.connect(&ben).await);
    world.bus.set_away(true);
    let mut asked = vec![];
    for n in 0..80 {
        asked.push(socket.begin("message.send", json!({ "conversation_id": direct, "body": n.to_string() })).await);
    }
    let list = socket.begin("conversation.list", json!({})).await;
    until("32 wait for an answer", async || gateway.app.batcher.unanswered() == 32).await;
    // Others are served meanwhile, and this one's next is still not read.
    for _ in 0..5 {
        other.ok("conversation.list", json!({})).await;
    }
    assert_eq!(gateway.app.batcher.unanswered(), 32);
    world.bus.set_away(false);
    for re in asked {
        socket.answer(re).await.unwrap();
    }
    socket.answer(list).await.unwrap();
    assert_eq!(world.stored(&direct).await, (0..80).map(|n| n.to_string()).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_session_chooses_its_events() {
    let world = World::start().await;
    let [ann, ben] = world.people(["Ann", "Ben"]).await;
    let direct = world.direct(&ann, &ben).await;
    let mut here = world.gateways[0].connect(&ann).await;
    let mut narrow = world.gateways[1].open().await;
    let hello = |events: Value| json!({ "token": ben.token, "events": events });
    assert_eq!(narrow.refused("hello", hello(json!(["message.shouted"]))).await, "invalid");
    narrow.ok("hello", hello(json!(["message.edited"]))).await;
    let message = here.say(&direct, "hi").await;
    let edit = json!({ "conversation_id": direct, "message_id": message["id"], "body": "hello" });
    here.ok("message.edit", edit).await;
    narrow.expect("message.edited").await;
    here.ok("typing", json!({ "conversation_id": direct, "typing": true })).await;
    here.say(&direct, "more").await;
    assert_eq!(narrow.names(), Vec::<&str>::new(), "only what it chose");
    // What it cannot do without comes all the same.
    world.routing.wipe();
    assert_eq!(narrow.expect("resync").await["data"]["conversation_ids"], json!(null));
    world.gateways[0].call("POST", "/v1/auth/logout", Some(&ben), None).await.expect(204);
    narrow.expect("session.ended").await;
    assert_eq!(narrow.closed().await, 4403);
}

/// Whoever counts along knows whether anything is missing.
#[tokio::test]
async fn the_heartbeat_carries_how_many_events_were_sent() {
    let world = World::set(&[("HEARTBEAT_SECONDS", "1")]).await;
    let [ann, ben] = world.people(["Ann", "Ben"]).await;
    let direct = world.direct(&ann, &ben).await;
    let gateway = &world.gateways[0];
    let mut here = gateway.connect(&ann).await;
    let mut there = gateway.open().await;
    assert_eq!(there.hello(&ben).await["heartbeat_s"], 1);
    let (mut counted, mut beats) = (0, 0);
    while beats < 3 {
        here.ok("typing", json!({ "conversation_id": direct, "typing": beats % 2 == 0 })).await;
        here.say(&direct, "hi").await;
        here.forget();
        loop {
            let frame = there.next().await;
            match frame["event"].as_str().unwrap() {
                "heartbeat" => {
                    assert_eq!(frame["data"]["sent"], counted);
                    beats += 1;
                }
                "typing" => counted += 1,
                "message.created" => {
                    counted += 1;
                    break;
                }
                other => panic!("{other}"),
            }
        }
    }
    assert!(counted >= 2);
}

#[tokio::test]
async fn reads_over_the_socket_are_those_over_rest() {
    let world = World::set(&[]).await;
    let [ann, ben] = world.people(["Ann", "Ben"]).await;
    let group = world.group(&ann, &[&ben]).await;
    let gateway = &world.gateways[0];
    let mut socket = gateway.connect(&ann).await;
    let message = socket.say(&group, "hi").await;
    let reads = [
        ("conversation.get", json!({ "conversation_id": group })),
        ("conversation.list", json!({})),
        ("member.list", json!({ "conversation_id": group, "limit": 1 })),
        ("message.list", json!({ "conversation_id": group })),
        ("message.get", json!({ "message_id": message["id"] })),
        ("message.receipts", json!({ "message_id": message["id"] })),
        ("sync", json!({})),
    ];
    for (cmd, data) in reads {
        let told = socket.ok(cmd, data.clone()).await;
        assert_eq!(gateway.rest(&ann, cmd, data).await.expect(200), told, "{cmd}");
    }
    let page = socket.ok("member.list", json!({ "conversation_id": group, "limit": 1 })).await;
    let rest = socket.ok("member.list", json!({ "conversation_id": group, "cursor": page["next"] })).await;
    let mut ids = [&page["items"][0]["user"]["id"], &rest["items"][0]["user"]["id"]].map(|id| id.as_str().unwrap());
    ids.sort_unstable();
    let mut both = [ann.id.as_str(), ben.id.as_str()];
    both.sort_unstable();
    assert_eq!(ids, both);
    assert_eq!(socket.refused("message.get", json!({ "message_id": fresh() })).await, "not_found");
}

/// What has no number to be refused by, or is said again and again, ends the session instead of taking a core for it.
#[tokio::test]
async fn a_flood_that_asks_nothing_is_ended() {
    let world = World::set(&[("HEARTBEAT_SECONDS", "60")]).await;
    let ann = world.person("Ann").await;
    let gateway = &world.gateways[0];
    let floods = [r#"{"cmd":"heartbeat"}"#, r#"{"id":1,"cmd":"hello"}"#, r#"{"cmd":"sync"}"#, "{"];
    for flood in floods {
        let mut socket = gateway.connect(&ann).await;
        for _ in 0..250 {
            socket.text(flood).await;
        }
        assert_eq!(socket.closed().await, 4429, "{flood}");
    }
    // Nobody yet: a hello that is refused without being looked at further.
    let mut stranger = gateway.open().await;
    for _ in 0..250 {
        stranger.text(r#"{"id":1,"cmd":"hello","data":{"events":["nothing"]}}"#).await;
    }
    assert_eq!(stranger.closed().await, 4429);
}
