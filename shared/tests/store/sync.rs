//! Catching up, case by case.

use crate::{
    client::{self, Client, list, number},
    world::World,
};
use serde_json::{Value, json};
use shared::{
    domain::{ConversationId, UserId},
    store::sync::{Known, SyncLimits, SyncRequest},
    view,
};

async fn ask(world: &World, user: UserId, request: SyncRequest) -> Value {
    let answer = client::sync(world, user, &request, SyncLimits::default()).await;
    serde_json::from_slice(&view::json(&answer)).expect("JSON")
}

async fn from(world: &World, user: UserId, urev: i64, positions: &[(ConversationId, i64, i64)]) -> Value {
    let known = |(id, seq, rev): &(ConversationId, i64, i64)| (*id, Known { seq: *seq, rev: *rev, marks: None });
    let epoch = Some(world.store().get_epoch().await.expect("an epoch"));
    ask(world, user, SyncRequest { epoch, urev, positions: positions.iter().map(known).collect() }).await
}

fn events(entry: &Value) -> Vec<(String, i64, i64)> {
    let place =
        |change: &Value| (change["event"].as_str().unwrap().to_owned(), number(&change["seq"]), number(&change["rev"]));
    list(&entry["changes"]).iter().map(place).collect()
}

#[tokio::test]
async fn who_begins_with_nothing_gets_everything_he_is_in() {
    let world = World::create().await;
    let (ann, bob) = (world.user("ann").await, world.user("bob").await);
    let (one, two) = (world.group("one", &[ann, bob]).await, world.group("two", &[ann]).await);
    world.send(one, bob, "hi").await;
    world.remove(two, ann, ann).await;
    let answer = ask(&world, ann, SyncRequest::default()).await;
    assert_eq!((number(&answer["urev"]), &answer["more"]), (3, &json!(false)));
    assert_eq!(list(&answer["user_changes"]).len(), 3);
    assert_eq!(answer["user_changes"][0]["event"], "conversation.created");
    assert_eq!(answer["user_changes"][2]["event"], "conversation.deleted");
    let entries = list(&answer["conversations"]);
    assert_eq!(entries.len(), 2, "each conversation once, as he stands to it now");
    assert_eq!(entries[0]["new"]["last_message"]["body"], "hi");
    assert_eq!((&entries[0]["new"]["seq"], &entries[0]["new"]["unread"]), (&json!(1), &json!(1)));
    assert_eq!(entries[1], json!({ "id": two, "left": true }));
    let answer = from(&world, ann, 3, &[(one, 1, 0)]).await;
    assert_eq!((list(&answer["user_changes"]).len(), list(&answer["conversations"]).len()), (0, 0), "and then nothing");
}

#[tokio::test]
async fn what_came_after_a_position_comes_as_it_is_now() {
    let world = World::create().await;
    let (ann, bob) = (world.user("ann").await, world.user("bob").await);
    let id = world.group("tea", &[ann, bob]).await;
    for n in 1..=4 {
        world.send(id, bob, &n.to_string()).await;
    }
    world.edit(id, 1, "one").await;
    world.edit(id, 4, "four").await;
    world.edit(id, 1, "ONE").await;
    world.rename(id, bob, "coffee").await;
    world.mark(id, bob, 4, 4).await;
    let answer = from(&world, ann, 1, &[(id, 2, 0)]).await;
    let entry = &answer["conversations"][0];
    assert_eq!((number(&entry["seq"]), number(&entry["rev"]), &entry["more"]), (4, 4, &json!(false)));
    let bodies: Vec<_> =
        list(&entry["messages"]).iter().map(|m| (number(&m["seq"]), m["body"].clone(), number(&m["rev"]))).collect();
    assert_eq!(bodies, [(3, json!("3"), 0), (4, json!("four"), 2)]);
    let none = |rev| ("none".to_owned(), 4, rev);
    assert_eq!(
        events(entry),
        [("message.edited".into(), 4, 1), none(2), none(3), ("conversation.updated".into(), 4, 4)],
        "one that he has is told once, in its present state; one that he gets holds its changes"
    );
    assert_eq!(entry["changes"][0]["data"]["message"]["body"], "ONE");
    assert_eq!(entry["changes"][3]["data"]["conversation"]["title"], "coffee");
    assert_eq!(entry["changes"][3]["data"]["actor_id"], json!(bob));
    assert!(entry["changes"][3]["data"]["conversation"].get("unread").is_none(), "what all get is the same for all");
    assert_eq!(list(&entry["marks"]).len(), 2);
    assert_eq!(number(&entry["unread"]), 4);
}

#[tokio::test]
async fn deleted_text_is_nowhere() {
    let world = World::create().await;
    let ann = world.user("ann").await;
    let id = world.group("tea", &[ann]).await;
    world.send(id, ann, "secret").await;
    world.send(id, ann, "secret").await;
    world.edit(id, 1, "secret too").await;
    world.delete(id, 1).await;
    world.delete(id, 2).await;
    for positions in [(0, 0), (1, 0), (2, 0), (2, 1)] {
        let answer = from(&world, ann, 1, &[(id, positions.0, positions.1)]).await;
        assert!(!answer.to_string().contains("secret"), "{answer}");
    }
}

#[tokio::test]
async fn members_are_told_as_they_are() {
    let world = World::create().await;
    let (ann, bob, carl) = (world.user("ann").await, world.user("bob").await, world.user("carl").await);
    let id = world.group("tea", &[ann]).await;
    world.add(id, ann, bob, true).await;
    world.add(id, ann, carl, true).await;
    world.remove(id, ann, carl).await;
    world.set_role(id, ann, bob, "admin").await;
    let answer = from(&world, ann, 1, &[(id, 0, 0)]).await;
    let changes = list(&answer["conversations"][0]["changes"]);
    let added = |at: usize| {
        list(&changes[at]["data"]["members"]).iter().map(|m| m["user"]["display_name"].clone()).collect::<Vec<_>>()
    };
    assert_eq!((added(0), added(1)), (vec![json!("bob")], vec![]), "who is gone again is not shown as there");
    assert_eq!(changes[0]["data"]["member_count"], 2);
    assert_eq!((&changes[2]["event"], &changes[2]["data"]["user_id"]), (&json!("member.removed"), &json!(carl)));
    assert_eq!((&changes[3]["event"], &changes[3]["data"]["role"]), (&json!("member.updated"), &json!("admin")));
}

#[tokio::test]
async fn a_position_that_cannot_be_continued_is_reset_or_gone() {
    let world = World::create().await;
    let (ann, bob) = (world.user("ann").await, world.user("bob").await);
    let (far, ahead) = (world.group("far", &[ann]).await, world.group("ahead", &[ann]).await);
    let (others, gone) = (world.group("others", &[bob]).await, ConversationId::new());
    world.fill(far, &[ann], 1001).await;
    let answer = from(&world, ann, 2, &[(far, 0, 0), (ahead, 1, 0), (others, 0, 0), (gone, 4, 4)]).await;
    assert_eq!(
        answer["conversations"],
        json!([
            { "id": far, "reset": { "seq": 1001, "rev": 0 } },
            { "id": ahead, "reset": { "seq": 0, "rev": 0 } },
            { "id": others, "left": true },
            { "id": gone, "left": true },
        ])
    );
    assert_eq!((&answer["more"], answer.get("reset")), (&json!(false), None));
    let answer = from(&world, ann, 2, &[(far, 1, 0)]).await;
    assert_eq!(list(&answer["conversations"][0]["messages"]).len(), 256, "a thousand behind is caught up");
    assert_eq!((&answer["conversations"][0]["more"], &answer["more"]), (&json!(true), &json!(true)));
}

#[tokio::test]
async fn another_epoch_resets_everything() {
    let world = World::create().await;
    let ann = world.user("ann").await;
    let id = world.group("tea", &[ann]).await;
    let position = vec![(id, Known::default())];
    let before = world.store().get_epoch().await.unwrap();
    world.store().update_epoch().await.unwrap();
    let after = world.store().get_epoch().await.unwrap();
    let reset = json!({ "reset": true, "epoch": after, "urev": 1 });
    let old = SyncRequest { epoch: Some(before), urev: 1, positions: position.clone() };
    assert_eq!(ask(&world, ann, old).await, reset);
    let none = SyncRequest { epoch: None, urev: 0, positions: position };
    assert_eq!(ask(&world, ann, none).await, reset, "positions without an epoch are of none");
    assert_eq!(from(&world, ann, 2, &[]).await, reset, "and so is a stream that is ahead");
}

#[tokio::test]
async fn a_stream_whose_old_end_is_missing_is_reset() {
    let world = World::create().await;
    let ann = world.user("ann").await;
    for n in 0..4 {
        world.group(&n.to_string(), &[ann]).await;
    }
    world.forget_user_changes(ann, 2).await;
    assert_eq!(from(&world, ann, 1, &[]).await["reset"], true);
    assert_eq!(list(&from(&world, ann, 2, &[]).await["user_changes"]).len(), 2);
    world.forget_user_changes(ann, 4).await;
    assert_eq!(from(&world, ann, 3, &[]).await["reset"], true);
    assert_eq!(from(&world, ann, 4, &[]).await.get("reset"), None, "who has it all misses nothing");
}

#[tokio::test]
async fn nobody_catches_up_on_what_was_before_his_time() {
    let world = World::create().await;
    let (ann, bob) = (world.user("ann").await, world.user("bob").await);
    let id = world.group("tea", &[ann]).await;
    world.send(id, ann, "before").await;
    world.rename(id, ann, "before too").await;
    world.add(id, ann, bob, false).await;
    world.send(id, ann, "after").await;
    world.edit(id, 1, "before, edited").await;
    world.edit(id, 2, "after, edited").await;
    let answer = from(&world, bob, 1, &[(id, 0, 0)]).await;
    let entry = &answer["conversations"][0];
    assert!(!answer.to_string().contains("before"), "{answer}");
    assert_eq!(list(&entry["messages"]).len(), 1);
    let names: Vec<_> = events(entry).into_iter().map(|(name, ..)| name).collect();
    assert_eq!(names, ["none", "member.added", "none", "none"]);
    assert_eq!(
        (number(&entry["seq"]), number(&entry["rev"])),
        (2, 4),
        "every place is there, so that there is no hole"
    );
}

#[tokio::test]
async fn marks_that_rose_while_nothing_was_said_are_told_to_who_asks() {
    let world = World::create().await;
    let (ann, bob) = (world.user("ann").await, world.user("bob").await);
    let id = world.direct(ann, bob).await;
    world.send(id, ann, "hi").await;
    world.mark(id, bob, 0, 1).await;
    let epoch = Some(world.store().get_epoch().await.unwrap());
    let at =
        |marks| SyncRequest { epoch: epoch.clone(), urev: 1, positions: vec![(id, Known { seq: 1, rev: 0, marks })] };
    assert_eq!(list(&ask(&world, ann, at(None)).await["conversations"]).len(), 0);
    assert_eq!(list(&ask(&world, ann, at(Some(1))).await["conversations"]).len(), 0, "as she knows it");
    world.mark(id, bob, 1, 1).await;
    let answer = ask(&world, ann, at(Some(1))).await;
    let entry = &answer["conversations"][0];
    assert_eq!((list(&entry["messages"]).len(), list(&entry["changes"]).len(), &entry["more"]), (0, 0, &json!(false)));
    assert!(list(&entry["marks"]).contains(&json!({ "user_id": bob, "read_seq": 1, "delivered_seq": 1 })));
}

#[tokio::test]
async fn in_a_large_conversation_everybody_hears_his_own_mark_only() {
    let world = World::create().await;
    let mut people = vec![];
    for n in 0..101 {
        people.push(world.user(&n.to_string()).await);
    }
    let id = world.group("crowd", &people).await;
    world.send(id, people[1], "hi").await;
    world.mark(id, people[0], 1, 1).await;
    let answer = from(&world, people[0], 1, &[(id, 0, 0)]).await;
    assert_eq!(
        answer["conversations"][0]["marks"],
        json!([{ "user_id": people[0], "read_seq": 1, "delivered_seq": 1 }])
    );
}

#[tokio::test]
async fn a_page_fits_an_outbox() {
    let world = World::create().await;
    let ann = world.user("ann").await;
    let mut client = Client::new(ann);
    let mut ids = vec![];
    for n in 0..40 {
        ids.push(world.group(&n.to_string(), &[ann]).await);
    }
    client.settle(&world).await;
    for id in &ids {
        for _ in 0..3 {
            world.send(*id, ann, &"x".repeat(16 * 1024)).await;
        }
    }
    client.pages = 0;
    loop {
        let answer = client.sync(&world).await;
        let size = answer.to_string().len();
        assert!(size <= 128 * 1024, "{size} bytes");
        if answer["more"] == false {
            break;
        }
        assert!(size > 100 * 1024, "and is used: {size} bytes");
    }
    assert!((15..=20).contains(&client.pages), "120 messages of 16 KiB in {} pages", client.pages);
    assert!(client.conversations.values().all(|local| local.messages.len() == 3));
}
