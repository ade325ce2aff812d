//! People talk: what is said is stored once, in one order, and everybody hears of it.

use crate::world::{Socket, World, fresh};
use futures_util::future::join_all;
use serde_json::{Value, json};

fn text(conversation: &str, id: &str, body: &str) -> Value {
    json!({ "conversation_id": conversation, "id": id, "body": body })
}

/// `seq + rev` of an event.
fn place(event: &Value) -> i64 {
    event["seq"].as_i64().unwrap() + event["rev"].as_i64().unwrap()
}

#[tokio::test]
async fn two_people_on_two_gateways_talk() {
    let world = World::start().await;
    let [ann, ben] = world.people(["Ann", "Ben"]).await;
    let direct = world.direct(&ann, &ben).await;
    let (mut here, mut there) = (world.gateways[0].connect(&ann).await, world.gateways[1].connect(&ben).await);
    let mut phone = world.gateways[1].connect(&world.another_login(&ann).await).await;
    for n in 1..=3 {
        let body = format!("{n}");
        let re = here.begin("message.send", json!({ "conversation_id": direct, "body": body })).await;
        let (event, answer) = (here.next().await, here.next().await);
        assert_eq!((&event["event"], &answer["re"]), (&json!("message.created"), &json!(re)), "first the event");
        assert_eq!(world.stored(&direct).await.len(), n, "answered means stored");
        assert_eq!(event["data"]["message"], answer["ok"]["message"]);
        assert_eq!((event["seq"].as_u64(), place(&event)), (Some(n as u64), n as i64));
        for other in [&mut there, &mut phone] {
            assert_eq!(other.next().await, event, "the same for everybody, and no reply to others");
        }
    }
    let message = there.say(&direct, "four").await;
    assert_eq!((&message["seq"], &message["sender_id"]), (&json!(4), &json!(ben.id)));
    assert_eq!(world.stored(&direct).await, ["1", "2", "3", "four"]);
    // Over REST it goes the same way.
    let sent = world.gateways[1].rest(&ann, "message.send", text(&direct, &fresh(), "five")).await.expect(201);
    assert_eq!((&sent["seq"], &sent["body"]), (&json!(5), &json!("five")));
    for socket in [&mut here, &mut there, &mut phone] {
        socket.take("five", |frame| frame["data"]["message"] == sent).await;
    }
}

#[tokio::test]
async fn many_talk_at_once_and_all_see_one_order() {
    let world = World::start().await;
    let [ann, ben, cal, dee] = world.people(["Ann", "Ben", "Cal", "Dee"]).await;
    let group = world.group(&ann, &[&ben, &cal, &dee]).await;
    let mut sockets = vec![];
    for (n, person) in [&ann, &ben, &cal, &dee].into_iter().enumerate() {
        sockets.push(world.gateways[n % 2].connect(person).await);
    }
    // Each sends without waiting: one session's own are stored in the order sent.
    let talk = sockets.iter_mut().enumerate().map(async |(who, socket)| {
        for n in 0..25 {
            socket.begin("message.send", json!({ "conversation_id": group, "body": format!("{who} {n:02}") })).await;
        }
        for re in 2..=26 {
            socket.answer(re).await.unwrap();
        }
    });
    join_all(talk).await;
    let stored = world.stored(&group).await;
    assert_eq!(stored.len(), 100);
    for who in 0..4 {
        let own: Vec<&String> = stored.iter().filter(|body| body.starts_with(&who.to_string())).collect();
        assert!(own.is_sorted() && own.len() == 25, "{own:?}");
    }
    for socket in &mut sockets {
        let mut events = vec![];
        while events.len() < 100 {
            events.push(socket.expect("message.created").await);
        }
        let bodies: Vec<&str> = events.iter().map(|event| event["data"]["message"]["body"].as_str().unwrap()).collect();
        assert_eq!(bodies, stored);
        assert!(events.windows(2).all(|pair| place(&pair[1]) == place(&pair[0]) + 1), "each place one higher");
    }
}

#[tokio::test]
async fn the_same_message_again_is_the_same_message() {
    let world = World::start().await;
    let [ann, ben] = world.people(["Ann", "Ben"]).await;
    let direct = world.direct(&ann, &ben).await;
    let (mut here, mut there) = (world.gateways[0].connect(&ann).await, world.gateways[1].connect(&ann).await);
    let (first, others) = (fresh(), fresh());
    // At once, twice: one of them created it, both get it.
    let twice = [
        here.begin("message.send", text(&direct, &first, "hi")).await,
        here.begin("message.send", text(&direct, &first, "hi")).await,
    ];
    let told = [here.answer(twice[0]).await.unwrap(), here.answer(twice[1]).await.unwrap()];
    assert_eq!(told[0], told[1]);
    // On the other gateway, over REST, and after others have come.
    here.ok("message.send", text(&direct, &others, "meanwhile")).await;
    assert_eq!(there.ok("message.send", text(&direct, &first, "hi")).await, told[0]);
    let rest = world.gateways[0].rest(&ann, "message.send", text(&direct, &first, "hi")).await.expect(200);
    assert_eq!(rest, told[0]["message"]);
    // After an edit it is answered as it is now.
    let edit = json!({ "conversation_id": direct, "message_id": first, "body": "hello" });
    let edited = here.ok("message.edit", edit).await;
    assert_eq!(there.ok("message.send", text(&direct, &first, "hi")).await, edited);
    // After deletion too, with nothing of its text left.
    let gone = json!({ "conversation_id": direct, "message_id": first });
    let deleted = here.ok("message.delete", gone).await;
    assert_eq!(there.ok("message.send", text(&direct, &first, "hi")).await, deleted);
    assert_eq!(world.stored(&direct).await, ["", "meanwhile"]);
    let events = here.names().iter().filter(|name| **name == "message.created").count();
    assert_eq!(events, 2, "a repetition is no event");
}

#[tokio::test]
async fn an_id_is_not_used_for_anything_else() {
    let world = World::start().await;
    let [ann, ben] = world.people(["Ann", "Ben"]).await;
    let (direct, group) = (world.direct(&ann, &ben).await, world.group(&ann, &[&ben]).await);
    let (mut ann_here, mut ben_there) = (world.gateways[0].connect(&ann).await, world.gateways[1].connect(&ben).await);
    let used = fresh();
    ann_here.ok("message.send", text(&direct, &used, "mine")).await;
    let reply = ann_here.say(&direct, "another").await["id"].clone();
    let mut with_reply = text(&direct, &used, "mine");
    with_reply["reply_to"] = reply;
    for other in [text(&direct, &used, "other words"), text(&group, &used, "mine"), with_reply] {
        assert_eq!(ann_here.refused("message.send", other.clone()).await, "id_conflict", "{other}");
        let rest = world.gateways[1].rest(&ann, "message.send", other).await;
        assert_eq!((rest.status, rest.code().as_str()), (409, "id_conflict"));
    }
    assert_eq!(ben_there.refused("message.send", text(&direct, &used, "mine")).await, "id_conflict");
    assert_eq!(world.stored(&direct).await, ["mine", "another"]);
    assert!(world.stored(&group).await.is_empty());
}

/// Ids that cross: the same two messages sent to two conversations in opposite orders, again and again. Each id is
/// stored in one of them; nothing waits for ever, nothing is lost.
#[tokio::test]
async fn crossing_ids_do_not_block_each_other() {
    let world = World::start().await;
    let [ann, ben] = world.people(["Ann", "Ben"]).await;
    let (left, right) = (world.group(&ann, &[&ben]).await, world.group(&ann, &[&ben]).await);
    let (mut one, mut two) = (world.gateways[0].connect(&ann).await, world.gateways[1].connect(&ann).await);
    for _ in 0..20 {
        let ids: Vec<String> = (0..6).map(|_| fresh()).collect();
        let send = async |socket: &mut Socket, conversation: &str, order: Vec<&String>| {
            let mut asked = vec![];
            for id in order {
                asked.push((id.clone(), socket.begin("message.send", text(conversation, id, id)).await));
            }
            let mut stored = vec![];
            for (id, re) in asked {
                match socket.answer(re).await {
                    Ok(_) => stored.push(id),
                    Err(refused) => assert_eq!(refused.code, "id_conflict"),
                }
            }
            stored
        };
        let (in_left, in_right) = tokio::join!(
            send(&mut one, &left, ids.iter().collect()),
            send(&mut two, &right, ids.iter().rev().collect())
        );
        let mut all = [in_left, in_right].concat();
        all.sort();
        assert_eq!(all, ids, "each id is in exactly one of them");
    }
    let (in_left, in_right) = (world.stored(&left).await.len(), world.stored(&right).await.len());
    assert_eq!(in_left + in_right, 120);
}
