//! How far people have read: marks, what is unread, what the sender is told.

use crate::world::{Socket, World, until};
use serde_json::{Value, json};

fn mark(conversation: &str, seq: i64) -> Value {
    json!({ "conversation_id": conversation, "seq": seq })
}

async fn unread(socket: &mut Socket, conversation: &str) -> Value {
    socket.ok("conversation.get", json!({ "conversation_id": conversation })).await["unread"].clone()
}

async fn statuses(socket: &mut Socket, conversation: &str) -> Vec<String> {
    let page = socket.ok("message.list", json!({ "conversation_id": conversation })).await;
    let items = page["items"].as_array().unwrap().clone();
    items.iter().map(|message| message["status"].as_str().unwrap_or("-").to_owned()).collect()
}

#[tokio::test]
async fn a_sender_sees_who_has_it_and_who_has_read_it() {
    let world = World::start().await;
    let [ann, ben, cal] = world.people(["Ann", "Ben", "Cal"]).await;
    let group = world.group(&ann, &[&ben, &cal]).await;
    let (mut here, mut there) = (world.gateways[0].connect(&ann).await, world.gateways[1].connect(&ben).await);
    for n in 1..=3 {
        here.say(&group, &n.to_string()).await;
    }
    assert_eq!(statuses(&mut here, &group).await, ["sent"; 3]);
    there.ok("conversation.delivered", mark(&group, 3)).await;
    assert_eq!(statuses(&mut here, &group).await, ["sent"; 3], "Cal has nothing yet");
    world.gateways[0].rest(&cal, "conversation.read", mark(&group, 2)).await.expect(200);
    assert_eq!(statuses(&mut here, &group).await, ["delivered", "delivered", "sent"]);
    let answer = there.ok("conversation.read", mark(&group, 1)).await;
    assert_eq!(answer, json!({ "conversation_id": group, "read_seq": 1, "delivered_seq": 3 }));
    assert_eq!(statuses(&mut here, &group).await, ["read", "delivered", "sent"]);
    assert_eq!(statuses(&mut there, &group).await, ["-"; 3], "only the sender is told");

    // Told live as well; the last word on each is where they stand.
    let mut told = std::collections::BTreeMap::new();
    let expected = [(ben.id.clone(), (1, 3)), (cal.id.clone(), (2, 2))].into();
    while told != expected {
        let event = here.expect_in(&group, "receipt.updated").await;
        for receipt in event["data"]["receipts"].as_array().unwrap() {
            let marks = (receipt["read_seq"].as_i64().unwrap(), receipt["delivered_seq"].as_i64().unwrap());
            told.insert(receipt["user_id"].as_str().unwrap().to_owned(), marks);
        }
    }
    let message = here.ok("message.list", json!({ "conversation_id": group, "limit": 1 })).await["items"][0].clone();
    let receipts = json!({ "message_id": message["id"] });
    let listed = here.ok("message.receipts", receipts.clone()).await;
    let mut by_user = [(&ben.id, "delivered"), (&cal.id, "sent")];
    by_user.sort();
    let items: Vec<Value> = by_user.iter().map(|(user, status)| json!({ "user_id": user, "status": status })).collect();
    assert_eq!(listed, json!({ "items": items, "next": null }));
    assert_eq!(world.gateways[1].rest(&ann, "message.receipts", receipts).await.expect(200), listed);
}

#[tokio::test]
async fn marks_only_rise_and_never_past_the_last_message() {
    let world = World::start().await;
    let [ann, ben] = world.people(["Ann", "Ben"]).await;
    let direct = world.direct(&ann, &ben).await;
    let (mut here, mut there) = (world.gateways[0].connect(&ann).await, world.gateways[1].connect(&ben).await);
    for n in 1..=4 {
        here.say(&direct, &n.to_string()).await;
    }
    // At once, on both gateways, in any order: all are answered, the highest counts.
    let mut phone = world.gateways[0].connect(&world.another_login(&ben).await).await;
    let mut asked = vec![];
    for seq in [3, 1, 2] {
        asked.push((
            there.begin("conversation.read", mark(&direct, seq)).await,
            phone.begin("conversation.read", mark(&direct, seq)).await,
        ));
    }
    for (one, two) in asked {
        there.answer(one).await.unwrap();
        phone.answer(two).await.unwrap();
    }
    let marks = async |socket: &mut Socket| {
        let me = socket.ok("conversation.get", json!({ "conversation_id": direct })).await["me"].clone();
        (me["read_seq"].as_i64().unwrap(), me["delivered_seq"].as_i64().unwrap())
    };
    assert_eq!(marks(&mut there).await, (3, 3));
    there.ok("conversation.read", mark(&direct, 1)).await;
    there.ok("conversation.delivered", mark(&direct, 2)).await;
    assert_eq!(marks(&mut there).await, (3, 3));
    assert_eq!(there.ok("conversation.read", mark(&direct, 1 << 50)).await["read_seq"], 4, "there are four");
    assert_eq!(there.refused("conversation.read", mark(&direct, -1)).await, "invalid");
    assert_eq!(there.refused("conversation.read", mark(&direct, i64::MAX)).await, "invalid");
}

#[tokio::test]
async fn unread_is_what_others_said_and_left_there() {
    let world = World::set(&[]).await;
    let [ann, ben] = world.people(["Ann", "Ben"]).await;
    let direct = world.direct(&ann, &ben).await;
    let (mut here, mut there) = (world.gateways[0].connect(&ann).await, world.gateways[0].connect(&ben).await);
    let first = here.say(&direct, "one").await;
    here.say(&direct, "two").await;
    there.say(&direct, "my own").await;
    assert_eq!(unread(&mut there, &direct).await, 2);
    here.ok("message.delete", json!({ "conversation_id": direct, "message_id": first["id"] })).await;
    assert_eq!(unread(&mut there, &direct).await, 1);
    there.ok("conversation.read", mark(&direct, 3)).await;
    assert_eq!(unread(&mut there, &direct).await, 0);
    // Counted to a hundred and no further.
    let mut last = 0;
    for n in 0..101 {
        last = here.begin("message.send", json!({ "conversation_id": direct, "body": n.to_string() })).await;
    }
    here.answer(last).await.unwrap();
    assert_eq!(unread(&mut there, &direct).await, 100);
    there.ok("conversation.read", mark(&direct, 5)).await;
    assert_eq!(unread(&mut there, &direct).await, 99);
}

/// In a conversation of more than a hundred, nobody is told who types and who has read; it can still be asked for.
#[tokio::test]
async fn a_crowd_is_not_told_of_each_other() {
    let world = World::set(&[]).await;
    let [ann, ben] = world.people(["Ann", "Ben"]).await;
    let (crowd, pair) = (world.group(&ann, &[&ben]).await, world.group(&ann, &[&ben]).await);
    let gateway = &world.gateways[0];
    let others = futures_util::future::join_all((0..99).map(|_| world.person("one of many"))).await;
    let ids: Vec<&String> = others.iter().map(|person| &person.id).collect();
    let add = json!({ "conversation_id": crowd, "user_ids": ids });
    let (mut here, mut there) = (gateway.connect(&ann).await, gateway.connect(&ben).await);
    assert_eq!(here.ok("member.add", add).await["members"].as_array().unwrap().len(), 99);
    let message = here.say(&crowd, "hello, all hundred and one").await;
    for conversation in [&crowd, &pair] {
        there.ok("typing", json!({ "conversation_id": conversation, "typing": true })).await;
        here.say(conversation, "hi").await;
        there.ok("conversation.read", mark(conversation, 1)).await;
    }
    assert_eq!(here.expect("typing").await["conversation_id"], pair.as_str());
    assert_eq!(here.expect("receipt.updated").await["conversation_id"], pair.as_str());
    assert!(here.names().iter().all(|name| *name != "typing" && *name != "receipt.updated"));
    let asked = json!({ "message_id": message["id"], "limit": 100 });
    let receipts = here.ok("message.receipts", asked).await["items"].as_array().unwrap().clone();
    assert!(receipts.contains(&json!({ "user_id": ben.id, "status": "read" })), "{receipts:?}");
}

/// What was handed on goes from the outbox with whatever comes next, also where people only read: left to lie there it
/// would be relayed, and everybody concerned told to read anew.
#[tokio::test]
async fn reading_leaves_nothing_to_relay() {
    let world = World::set(&[]).await;
    let [ann, ben] = world.people(["Ann", "Ben"]).await;
    let direct = world.direct(&ann, &ben).await;
    let (mut here, mut there) = (world.gateways[0].connect(&ann).await, world.gateways[0].connect(&ben).await);
    for n in 1..=30 {
        here.say(&direct, "hi").await;
        there.ok("conversation.read", json!({ "conversation_id": direct, "seq": n })).await;
    }
    let said = std::time::Instant::now();
    until("the outbox is empty", async || world.number("SELECT count(*) FROM outbox", &[]).await == 0).await;
    // The relay takes what is five seconds old.
    assert!(said.elapsed() < std::time::Duration::from_secs(4), "{:?}", said.elapsed());
}
