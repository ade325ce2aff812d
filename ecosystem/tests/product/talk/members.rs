//! People come and go while others talk: whoever joins gets everything from then on, whoever is removed nothing more.

use crate::world::{Person, Socket, World};
use serde_json::{Value, json};

fn member(group: &str, person: &Person) -> Value {
    json!({ "conversation_id": group, "user_id": person.id })
}

fn place(event: &Value) -> i64 {
    event["seq"].as_i64().unwrap() + event["rev"].as_i64().unwrap()
}

/// Talks without a pause until told to stop: how much it said.
async fn talk(socket: &mut Socket, group: &str, stop: &std::cell::Cell<bool>) -> usize {
    let mut asked = vec![];
    while !stop.get() {
        let body = format!("{}", asked.len());
        asked.push(socket.begin("message.send", json!({ "conversation_id": group, "body": body })).await);
        if let Some(at) = asked.len().checked_sub(8) {
            socket.answer(asked[at]).await.unwrap();
        }
    }
    for re in &asked[asked.len().saturating_sub(7)..] {
        socket.answer(*re).await.unwrap();
    }
    asked.len()
}

/// What a person was told between his joining and his removal, checked against both.
async fn check_stay(socket: &mut Socket, group: &str) -> i64 {
    let created = socket.expect("conversation.created").await["data"]["conversation"].clone();
    let joined = place(&created);
    let removed = socket.expect_in(group, "member.removed").await;
    let gone = socket.expect("conversation.deleted").await;
    assert_eq!((&gone["data"]["conversation_id"], &gone["data"]["reason"]), (&json!(group), &json!("removed")));
    let told: Vec<Value> = socket.forget().into_iter().filter(|frame| frame["conversation_id"] == group).collect();
    for (n, event) in told.iter().enumerate() {
        assert_eq!(place(event), joined + 1 + n as i64, "everything after the joining, in order");
        assert!(place(event) < place(&removed), "nothing placed after the removal");
    }
    told.len() as i64
}

#[tokio::test]
async fn who_comes_and_goes_while_others_talk() {
    let world = World::start().await;
    let [ann, ben, cal] = world.people(["Ann", "Ben", "Cal"]).await;
    let group = world.group(&ann, &[&cal]).await;
    let mut talker = world.gateways[0].connect(&cal).await;
    // On Ben's gateway too: what passes there is not only his.
    let (mut owner, mut there) = (world.gateways[1].connect(&ann).await, world.gateways[1].connect(&ben).await);
    let stop = std::cell::Cell::new(false);
    let change = async {
        let mut heard = 0;
        for _ in 0..8 {
            owner.ok("member.add", json!({ "conversation_id": group, "user_ids": [ben.id] })).await;
            // Some talk for him to hear.
            for _ in 0..6 {
                owner.expect("message.created").await;
            }
            owner.ok("member.remove", member(&group, &ben)).await;
            owner.forget();
            heard += check_stay(&mut there, &group).await;
        }
        stop.set(true);
        heard
    };
    let (heard, said) = tokio::join!(change, talk(&mut talker, &group, &stop));
    assert!(heard > 0, "he heard nothing at all of {said}");
    // A later word in a conversation of his own shows that nothing else was on its way.
    let direct = world.direct(&ann, &ben).await;
    talker.forget();
    owner.say(&direct, "the end").await;
    there.expect_in(&direct, "message.created").await;
    assert!(!there.waiting().any(|frame| frame["conversation_id"] == group.as_str()), "{:?}", there.names());
    assert_eq!(there.refused("message.list", json!({ "conversation_id": group })).await, "not_found");
    assert_eq!(world.stored(&group).await.len(), said);
}

#[tokio::test]
async fn a_new_member_reads_what_was_said_before_and_has_nothing_unread() {
    let world = World::set(&[]).await;
    let [ann, ben, cal] = world.people(["Ann", "Ben", "Cal"]).await;
    let group = world.group(&ann, &[&ben]).await;
    let (mut here, mut late) = (world.gateways[0].connect(&ann).await, world.gateways[0].connect(&cal).await);
    here.say(&group, "before").await;
    let add = json!({ "conversation_id": group, "user_ids": [cal.id, ben.id] });
    let added = here.ok("member.add", add.clone()).await;
    let names: Vec<&Value> = added["members"].as_array().unwrap().iter().map(|m| &m["user"]["display_name"]).collect();
    assert_eq!(names, ["Cal"], "Ben was there");
    let event = here.expect("member.added").await;
    assert_eq!((&event["data"]["member_count"], &event["data"]["members"]), (&json!(3), &added["members"]));
    let told = late.expect("conversation.created").await["data"]["conversation"].clone();
    assert_eq!((&told["seq"], &told["rev"]), (&json!(1), &json!(1)));
    here.say(&group, "after").await;
    assert_eq!(late.expect("message.created").await["seq"], 2);
    assert_eq!(late.names(), Vec::<&str>::new(), "his own joining is in what he was told first");
    let seen = late.ok("conversation.get", json!({ "conversation_id": group })).await;
    assert_eq!(seen["unread"], 1, "only what came after the joining");
    let history = late.ok("message.list", json!({ "conversation_id": group })).await;
    assert_eq!(history["items"].as_array().unwrap().len(), 2);
    assert_eq!(here.ok("member.add", add).await["members"], json!([]), "again changes nothing");
}

#[tokio::test]
async fn an_owner_leaves_an_heir_and_the_last_one_closes() {
    let world = World::set(&[]).await;
    let [ann, ben, cal] = world.people(["Ann", "Ben", "Cal"]).await;
    let group = world.group(&ann, &[&ben, &cal]).await;
    let leave = json!({ "conversation_id": group });
    let gateway = &world.gateways[0];
    let (mut first, mut second, mut third) =
        (gateway.connect(&ann).await, gateway.connect(&ben).await, gateway.connect(&cal).await);
    let mut role = member(&group, &cal);
    role["role"] = json!("moderator");
    first.ok("member.role", role).await;
    first.ok("conversation.leave", leave.clone()).await;
    for socket in [&mut second, &mut third] {
        let gone = socket.expect("member.removed").await;
        assert_eq!(gone["data"]["user_id"], ann.id);
        socket.expect("member.updated").await;
        let heir = socket.expect("member.updated").await;
        let expected = json!({ "actor_id": ann.id, "user_id": cal.id, "role": "owner" });
        assert_eq!(heir["data"], expected, "the highest role comes next");
        assert_eq!(place(&heir), place(&gone) + 1);
    }
    third.ok("conversation.leave", leave.clone()).await;
    assert_eq!(second.expect("member.updated").await["data"]["user_id"], ben.id);
    second.ok("conversation.leave", leave.clone()).await;
    assert_eq!(second.refused("conversation.get", leave).await, "not_found");
    let closed = "SELECT count(*) FROM conversations WHERE closed_at IS NOT NULL AND member_count = 0";
    assert_eq!(world.number(closed, &[]).await, 1);
}
