//! What REST says its own way: keys in a header, ids in the path, pages that fit, and the same answers as the socket.

use crate::world::{Answer, Edge, Person, World, fresh};
use serde_json::{Value, json};

async fn keyed(gateway: &Edge, person: &Person, key: &str, path: &str, body: Value) -> Answer {
    let head = [format!("Authorization: Bearer {}", person.token), format!("Idempotency-Key: {key}")];
    let method = if body["title"].is_string() { "PATCH" } else { "POST" };
    gateway.raw(method, path, &head, Some(body)).await
}

#[tokio::test]
async fn a_key_makes_two_requests_one_command() {
    let world = World::start().await;
    let [ann, ben] = world.people(["Ann", "Ben"]).await;
    let group = world.group(&ann, &[&ben]).await;
    let (key, path) = (fresh(), format!("/v1/conversations/{group}/messages"));
    let first = keyed(&world.gateways[0], &ann, &key, &path, json!({ "body": "once" })).await.expect(201);
    let again = keyed(&world.gateways[1], &ann, &key, &path, json!({ "body": "once" })).await.expect(200);
    assert_eq!((&first["id"], &again["id"], &again["seq"]), (&json!(key), &json!(key), &json!(1)));
    let other = keyed(&world.gateways[0], &ann, &key, &path, json!({ "body": "twice" })).await;
    assert_eq!((other.status, other.code().as_str()), (409, "id_conflict"));

    let (key, path) = (format!("\"{}\"", fresh()), format!("/v1/conversations/{group}"));
    let renamed = keyed(&world.gateways[0], &ann, &key, &path, json!({ "title": "One" })).await.expect(200);
    world.gateways[0]
        .rest(&ann, "conversation.update", json!({ "conversation_id": group, "title": "Two" }))
        .await
        .expect(200);
    let late = keyed(&world.gateways[1], &ann, &key, &path, json!({ "title": "One" })).await.expect(200);
    assert_eq!(late, renamed, "a late copy hears what the first one heard");
    let now = world.gateways[0].rest(&ann, "conversation.get", json!({ "conversation_id": group })).await.expect(200);
    assert_eq!(now["title"], "Two", "and changes nothing");
    let other = keyed(&world.gateways[0], &ann, &key, &path, json!({ "title": "Three" })).await;
    assert_eq!(
        (other.status, other.code().as_str()),
        (409, "id_conflict"),
        "another command under that key is not done"
    );
    let theirs = keyed(&world.gateways[0], &ben, &key, &path, json!({ "title": "One" })).await;
    assert_eq!((theirs.status, theirs.code().as_str()), (409, "id_conflict"), "nor is somebody else's");
    let wrong = keyed(&world.gateways[0], &ann, "once", &path, json!({ "title": "Three" })).await;
    assert_eq!((wrong.status, wrong.json()["fields"]["Idempotency-Key"].is_string()), (400, true));
}

#[tokio::test]
async fn ids_stand_in_the_path() {
    let world = World::set(&[]).await;
    let [ann, ben] = world.people(["Ann", "Ben"]).await;
    let group = world.group(&ann, &[&ben]).await;
    let gateway = &world.gateways[0];
    let path = format!("/v1/conversations/{group}/messages");
    let body = |conversation: &str| json!({ "body": "x", "conversation_id": conversation });
    gateway.call("POST", &path, Some(&ann), Some(body(&group))).await.expect(201);
    let elsewhere = gateway.call("POST", &path, Some(&ann), Some(body(&fresh()))).await;
    assert_eq!((elsewhere.status, elsewhere.json()["fields"]["conversation_id"].is_string()), (400, true));
    let unknown = gateway.call("POST", &path, Some(&ann), Some(json!({ "body": "x", "colour": "red" }))).await;
    assert_eq!((unknown.status, unknown.json()["fields"]["colour"].is_string()), (400, true));
    for (method, path) in [
        ("GET", "/v1/conversations/none".to_owned()),
        ("GET", format!("/v1/conversations/{}", fresh())),
        ("GET", format!("/v1/messages/{}", fresh())),
        ("DELETE", format!("/v1/messages/{}", fresh())),
        ("GET", format!("/v1/messages/{}/receipts", fresh())),
        ("GET", format!("/v1/conversations/{}/members", fresh())),
    ] {
        let answer = gateway.call(method, &path, Some(&ann), None).await;
        assert_eq!((answer.status, answer.code().as_str()), (404, "not_found"), "{path}");
        assert_eq!(gateway.call(method, &path, None, None).await.status, 401, "{path}");
    }
}

#[tokio::test]
async fn a_page_of_long_messages_is_shorter() {
    let world = World::set(&[]).await;
    let [ann, ben] = world.people(["Ann", "Ben"]).await;
    let direct = world.direct(&ann, &ben).await;
    let gateway = &world.gateways[0];
    let mut socket = gateway.connect(&ann).await;
    for _ in 0..20 {
        socket.say(&direct, &"x".repeat(16 * 1024)).await;
    }
    let page = async |from: &str| {
        let path = format!("/v1/conversations/{direct}/messages?limit=100{from}");
        let answer = gateway.call("GET", &path, Some(&ben), None).await;
        assert!(answer.text.len() <= 128 * 1024, "{} bytes", answer.text.len());
        let page = answer.expect(200);
        let seqs: Vec<i64> =
            page["items"].as_array().unwrap().iter().map(|item| item["seq"].as_i64().unwrap()).collect();
        assert_eq!(
            (page["first_seq"].as_i64(), page["last_seq"].as_i64()),
            (seqs.first().copied(), seqs.last().copied())
        );
        (seqs, page["more_before"] == true, page["more_after"] == true)
    };
    let seven = |first: i64| (first..first + 7).collect::<Vec<i64>>();
    assert_eq!(page("").await, (seven(14), true, false));
    assert_eq!(page("&before=14").await, (seven(7), true, true));
    assert_eq!(page("&after=0").await, (seven(1), false, true));
    assert_eq!(page("&around=10").await, (seven(7), true, true), "what is nearest to the one asked for");
    let list = socket.ok("message.list", json!({ "conversation_id": direct, "limit": 100 })).await;
    assert_eq!(
        list["items"].as_array().unwrap().len(),
        7,
        "and so on the socket, where it must fit what is still unsent"
    );
}

#[tokio::test]
async fn catching_up_is_the_same_over_rest() {
    let world = World::start().await;
    let [ann, ben] = world.people(["Ann", "Ben"]).await;
    let group = world.group(&ann, &[&ben]).await;
    let (mut here, there) = (world.gateways[0].connect(&ann).await, &world.gateways[1]);
    let begun = there.rest(&ben, "sync", json!({})).await.expect(200);
    assert_eq!((&begun["conversations"][0]["new"]["id"], &begun["more"]), (&json!(group), &json!(false)));
    let message = here.say(&group, "helo").await;
    here.say(&group, "who is there?").await;
    let about = json!({ "conversation_id": group, "message_id": message["id"], "body": "hello" });
    here.ok("message.edit", about).await;
    let at = |seq: i64, rev: i64| {
        let position = json!({ "seq": seq, "rev": rev });
        json!({ "epoch": begun["epoch"], "urev": begun["urev"], "positions": { &group: position } })
    };
    for (seq, rev) in [(0, 0), (1, 0), (2, 0), (2, 1), (9, 9)] {
        let page = there.rest(&ben, "sync", at(seq, rev)).await.expect(200);
        assert_eq!(world.gateways[0].connect(&ben).await.ok("sync", at(seq, rev)).await, page);
    }
    // A live event and its change, told later, are one and the same to a client.
    let event = here.expect("message.edited").await;
    let change = &there.rest(&ben, "sync", at(2, 0)).await.expect(200)["conversations"][0]["changes"][0];
    for part in ["event", "seq", "rev", "data"] {
        assert_eq!(event[part], change[part], "{part}");
    }
    let mut old = at(0, 0);
    old["epoch"] = json!("another");
    assert_eq!(there.rest(&ben, "sync", old).await.expect(200)["reset"], true);
}
