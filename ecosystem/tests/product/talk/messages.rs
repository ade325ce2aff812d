//! What becomes of a message afterwards: edited, deleted, answered, read again in history.

use crate::world::{World, fresh};
use serde_json::{Value, json};

fn about(conversation: &str, message: &Value) -> Value {
    json!({ "conversation_id": conversation, "message_id": message["id"] })
}

fn with(mut data: Value, name: &str, value: impl Into<Value>) -> Value {
    data[name] = value.into();
    data
}

#[tokio::test]
async fn a_message_is_edited_and_deleted_for_everyone() {
    let world = World::start().await;
    let [ann, ben] = world.people(["Ann", "Ben"]).await;
    let direct = world.direct(&ann, &ben).await;
    let (mut here, mut there) = (world.gateways[0].connect(&ann).await, world.gateways[1].connect(&ben).await);
    let message = here.say(&direct, "helo").await;
    let edit = with(about(&direct, &message), "body", "hello");
    let edited = here.ok("message.edit", edit.clone()).await["message"].clone();
    assert_eq!((&edited["body"], &edited["seq"], &edited["rev"]), (&json!("hello"), &json!(1), &json!(1)));
    assert!(edited["edited_at"].is_string());
    let event = there.expect("message.edited").await;
    assert_eq!((&event["seq"], &event["rev"], &event["data"]["message"]), (&json!(1), &json!(1), &edited));
    // The same text again changes nothing.
    assert_eq!(here.ok("message.edit", edit).await["message"], edited);
    // Nobody else's to edit or delete, and not in another conversation's name.
    let theirs = about(&direct, &message);
    assert_eq!(there.refused("message.edit", with(theirs.clone(), "body", "no")).await, "forbidden");
    assert_eq!(there.refused("message.delete", theirs.clone()).await, "forbidden");
    let elsewhere = with(theirs.clone(), "conversation_id", world.group(&ann, &[&ben]).await);
    assert_eq!(here.refused("message.delete", elsewhere).await, "not_found");

    let deleted = here.ok("message.delete", theirs.clone()).await["message"].clone();
    assert_eq!((&deleted["body"], &deleted["rev"]), (&json!(""), &json!(2)));
    assert!(deleted["deleted_at"].is_string());
    assert_eq!(there.expect("message.deleted").await["data"]["message"], deleted);
    assert_eq!(here.ok("message.delete", theirs.clone()).await["message"], deleted, "again changes nothing");
    assert_eq!(here.refused("message.edit", with(theirs, "body", "back")).await, "closed");
    // Its texts survive nowhere: not as it is, not as it was, not in the log, not in an answer kept for a late copy.
    let kept =
        "SELECT (SELECT count(*) FROM edits) + (SELECT count(*) FROM messages WHERE body <> '' OR digest IS NOT NULL)
        + (SELECT count(*) FROM changes WHERE data::text LIKE '%hel%o%')
        + (SELECT count(*) FROM executed WHERE reply::text LIKE '%hel%o%')";
    assert_eq!(world.number(kept, &[]).await, 0);
}

#[tokio::test]
async fn over_rest_a_message_is_edited_deleted_and_read() {
    let world = World::start().await;
    let [ann, ben, eve] = world.people(["Ann", "Ben", "Eve"]).await;
    let direct = world.direct(&ann, &ben).await;
    let gateway = &world.gateways[0];
    let sent =
        gateway.rest(&ann, "message.send", json!({ "conversation_id": direct, "body": "helo" })).await.expect(201);
    let edit = with(json!({ "message_id": sent["id"] }), "body", "hello");
    let edited = gateway.rest(&ann, "message.edit", edit.clone()).await.expect(200);
    assert_eq!(edited["body"], "hello");
    assert_eq!(gateway.rest(&ben, "message.edit", edit.clone()).await.status, 403);
    assert_eq!(gateway.rest(&eve, "message.edit", edit).await.status, 404);
    let one = json!({ "message_id": sent["id"] });
    let read = gateway.rest(&ben, "message.get", one.clone()).await.expect(200);
    assert_eq!((&read["body"], &read["status"]), (&json!("hello"), &Value::Null));
    assert_eq!(gateway.rest(&ann, "message.get", one.clone()).await.expect(200)["status"], "sent");
    assert_eq!(gateway.rest(&eve, "message.get", one.clone()).await.status, 404);
    assert!(gateway.rest(&ann, "message.delete", one.clone()).await.expect(200)["deleted_at"].is_string());
    assert_eq!(gateway.rest(&ben, "message.get", one).await.expect(200)["body"], "");
}

#[tokio::test]
async fn a_message_answers_another_of_its_conversation() {
    let world = World::set(&[]).await;
    let [ann, ben] = world.people(["Ann", "Ben"]).await;
    let (direct, group) = (world.direct(&ann, &ben).await, world.group(&ann, &[&ben]).await);
    let mut socket = world.gateways[0].connect(&ann).await;
    let (first, elsewhere) = (socket.say(&direct, "first").await, socket.say(&group, "elsewhere").await);
    let answer = |to: &Value| json!({ "conversation_id": direct, "body": "yes", "reply_to": to });
    assert_eq!(socket.ok("message.send", answer(&first["id"])).await["message"]["reply_to"], first["id"]);
    for wrong in [elsewhere["id"].clone(), json!(fresh())] {
        assert_eq!(socket.refused("message.send", answer(&wrong)).await, "invalid");
    }
    socket.ok("message.delete", about(&direct, &first)).await;
    assert_eq!(
        socket.refused("message.send", answer(&first["id"])).await,
        "invalid",
        "what is deleted is not answered"
    );
}

#[tokio::test]
async fn an_encrypted_message_is_passed_on_untouched() {
    let world = World::set(&[]).await;
    let [ann, ben] = world.people(["Ann", "Ben"]).await;
    let direct = world.direct(&ann, &ben).await;
    let (mut here, mut there) = (world.gateways[0].connect(&ann).await, world.gateways[0].connect(&ben).await);
    let payload = json!({ "ciphertext": "q83vEjRW", "nonce": "AAECAwQF", "device": 7 });
    let sent = here.ok("message.send", json!({ "conversation_id": direct, "payload": payload })).await;
    assert_eq!((&sent["message"]["kind"], &sent["message"]["body"]), (&json!("encrypted"), &json!("")));
    assert_eq!(there.expect("message.created").await["data"]["message"]["payload"], payload);
    let again = there.ok("message.list", json!({ "conversation_id": direct })).await;
    assert_eq!(again["items"][0]["payload"], payload);
}

#[tokio::test]
async fn history_is_read_from_any_point_in_pages() {
    let world = World::set(&[]).await;
    let [ann, ben, eve] = world.people(["Ann", "Ben", "Eve"]).await;
    let direct = world.direct(&ann, &ben).await;
    let gateway = &world.gateways[0];
    let mut socket = gateway.connect(&ann).await;
    for n in 1..=120 {
        let re = socket.begin("message.send", json!({ "conversation_id": direct, "body": format!("{n}") })).await;
        if n % 30 == 0 {
            socket.answer(re).await.unwrap();
        }
    }
    // First and last `seq`, and whether there is more on either side.
    let cases = [
        (json!({}), (71, 120, true, false)),
        (json!({ "limit": 100 }), (21, 120, true, false)),
        (json!({ "before": 11 }), (1, 10, false, true)),
        (json!({ "before": 71, "limit": 20 }), (51, 70, true, true)),
        (json!({ "after": 0, "limit": 3 }), (1, 3, false, true)),
        (json!({ "after": 118 }), (119, 120, true, false)),
        (json!({ "around": 60, "limit": 10 }), (55, 64, true, true)),
    ];
    for (ask, (first, last, before, after)) in cases {
        let ask = with(ask, "conversation_id", direct.as_str());
        let page = socket.ok("message.list", ask.clone()).await;
        assert_eq!(gateway.rest(&ann, "message.list", ask.clone()).await.expect(200), page);
        let seqs: Vec<i64> = page["items"].as_array().unwrap().iter().map(|m| m["seq"].as_i64().unwrap()).collect();
        assert_eq!(seqs, (first..=last).collect::<Vec<i64>>(), "{ask}");
        assert_eq!((&page["more_before"], &page["more_after"]), (&json!(before), &json!(after)), "{ask}");
        assert_eq!(gateway.rest(&eve, "message.list", ask).await.code(), "not_found");
    }
    for wrong in [json!({ "limit": 101 }), json!({ "limit": 0 }), json!({ "before": 3, "after": 1 })] {
        let wrong = with(wrong, "conversation_id", direct.as_str());
        assert_eq!(socket.refused("message.list", wrong.clone()).await, "invalid");
        assert_eq!(gateway.rest(&ann, "message.list", wrong).await.status, 400);
    }
}
