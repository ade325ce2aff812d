//! Messages as members read them.

use crate::world::World;
use serde_json::json;
use shared::{
    domain::{ConversationId, MessageId, UserId},
    store::{
        StoreError,
        messages::{HistoryPage, Window},
    },
    view::Status,
};

fn seqs(page: &HistoryPage) -> Vec<i64> {
    page.items.iter().map(|message| message.seq).collect()
}

async fn page(world: &World, user: UserId, id: ConversationId, window: Window, limit: usize) -> HistoryPage {
    world.store().list_messages(user, id, window, limit).await.expect("a page")
}

/// Items, and whether there is more before and after them.
async fn shape(world: &World, user: UserId, id: ConversationId, window: Window) -> (Vec<i64>, bool, bool) {
    let page = page(world, user, id, window, 3).await;
    assert_eq!((page.first_seq, page.last_seq), (page.items.first().map(|m| m.seq), page.items.last().map(|m| m.seq)));
    (seqs(&page), page.more_before, page.more_after)
}

#[tokio::test]
async fn history_is_read_by_seq() {
    let world = World::create().await;
    let (ann, bob) = (world.user("ann").await, world.user("bob").await);
    let id = world.direct(ann, bob).await;
    assert_eq!(shape(&world, ann, id, Window::Newest).await, (vec![], false, false));
    assert_eq!(shape(&world, ann, id, Window::Around(7)).await, (vec![], false, false));
    for n in 1..=10 {
        world.send(id, if n % 2 == 0 { ann } else { bob }, &n.to_string()).await;
    }
    let is = async |window, seqs: &[i64], before, after| {
        assert_eq!(shape(&world, ann, id, window).await, (seqs.to_vec(), before, after), "{window:?}");
    };
    is(Window::Newest, &[8, 9, 10], true, false).await;
    is(Window::Before(8), &[5, 6, 7], true, true).await;
    is(Window::Before(3), &[1, 2], false, true).await;
    is(Window::Before(1), &[], false, true).await;
    is(Window::Before(0), &[], false, true).await;
    is(Window::Before(1000), &[8, 9, 10], true, false).await;
    is(Window::After(0), &[1, 2, 3], false, true).await;
    is(Window::After(8), &[9, 10], true, false).await;
    is(Window::After(10), &[], true, false).await;
    is(Window::After(1000), &[], true, false).await;
    is(Window::After(i64::MAX), &[], true, false).await;
    is(Window::Around(5), &[4, 5, 6], true, true).await;
    is(Window::Around(1), &[1, 2, 3], false, true).await;
    is(Window::Around(10), &[9, 10], true, false).await;
}

#[tokio::test]
async fn nobody_reads_before_his_time_and_strangers_nothing() {
    let world = World::create().await;
    let (ann, bob, eve) = (world.user("ann").await, world.user("bob").await, world.user("eve").await);
    let id = world.group("tea", &[ann]).await;
    for _ in 0..6 {
        world.send(id, ann, "hidden").await;
    }
    world.add(id, ann, bob, false).await;
    world.send(id, ann, "seen").await;
    world.send(id, ann, "seen").await;
    for (window, seqs, before, after) in [
        (Window::Newest, vec![7, 8], false, false),
        (Window::After(0), vec![7, 8], false, false),
        (Window::Before(8), vec![7], false, true),
        (Window::Before(7), vec![], false, true),
        (Window::Around(3), vec![7, 8], false, false),
        (Window::After(8), vec![], true, false),
    ] {
        assert_eq!(shape(&world, bob, id, window).await, (seqs, before, after), "{window:?}");
    }
    let (old, new) = (world.message_id(id, 6).await, world.message_id(id, 7).await);
    let store = world.store();
    assert!(store.get_message(bob, new, None).await.is_ok());
    assert!(matches!(store.get_message(bob, old, None).await, Err(StoreError::NotFound)));
    assert!(matches!(store.get_message_conversation(bob, old).await, Err(StoreError::NotFound)));
    assert!(matches!(store.list_receipts(bob, old, None, 10).await, Err(StoreError::NotFound)));
    for user in [eve, UserId::new()] {
        assert!(matches!(store.list_messages(user, id, Window::Newest, 10).await, Err(StoreError::NotFound)));
        assert!(matches!(store.get_message(user, new, None).await, Err(StoreError::NotFound)));
        assert!(matches!(store.get_message_conversation(user, new).await, Err(StoreError::NotFound)));
        assert!(matches!(store.list_receipts(user, new, None, 10).await, Err(StoreError::NotFound)));
        assert!(matches!(store.list_members(user, id, None, 10).await, Err(StoreError::NotFound)));
    }
    assert!(matches!(store.get_message(ann, MessageId::new(), None).await, Err(StoreError::NotFound)));
    let elsewhere = world.group("coffee", &[ann]).await;
    assert!(
        matches!(store.get_message(ann, new, Some(elsewhere)).await, Err(StoreError::NotFound)),
        "a pair must match"
    );
    world.remove(id, ann, bob).await;
    assert!(matches!(store.get_message(bob, new, None).await, Err(StoreError::NotFound)), "who has left sees nothing");
}

#[tokio::test]
async fn a_message_is_shown_as_it_is_now() {
    let world = World::create().await;
    let ann = world.user("ann").await;
    let id = world.group("tea", &[ann]).await;
    let extra = json!({ "payload": { "ciphertext": "qk0=" }, "mentions": [ann] });
    let sealed = world.send_kind(id, ann, "encrypted", "", Some(extra)).await;
    let edited = world.send(id, ann, "frist").await;
    world.edit(id, edited, "first").await;
    let deleted = world.send(id, ann, "oops").await;
    world.delete(id, deleted).await;
    let page = page(&world, ann, id, Window::Newest, 10).await;
    let [one, two, three] = &page.items[..] else { panic!("three messages") };
    assert_eq!((one.seq, one.payload.as_ref().map(|p| p.get())), (sealed, Some(r#"{"ciphertext":"qk0="}"#)));
    assert_eq!((one.mentions.as_slice(), one.rev), ([ann].as_slice(), 0));
    assert_eq!((&*two.body, two.rev, two.edited_at.is_some()), ("first", 1, true));
    assert_eq!((&*three.body, three.rev, three.payload.is_none()), ("", 2, true));
    assert!(three.deleted_at.is_some());
}

#[tokio::test]
async fn its_sender_is_told_who_has_it() {
    let world = World::create().await;
    let (ann, bob, carl) = (world.user("ann").await, world.user("bob").await, world.user("carl").await);
    let id = world.group("tea", &[ann, bob, carl]).await;
    for _ in 0..3 {
        world.send(id, ann, "x").await;
    }
    world.send(id, bob, "y").await;
    world.mark(id, bob, 2, 3).await;
    world.mark(id, carl, 1, 2).await;
    let statuses = async |user| {
        let page = page(&world, user, id, Window::Newest, 10).await;
        page.items.iter().map(|message| message.status).collect::<Vec<_>>()
    };
    assert_eq!(statuses(ann).await, [Some(Status::Read), Some(Status::Delivered), Some(Status::Sent), None]);
    assert_eq!(statuses(carl).await, [None, None, None, None], "to the sender only");
    let second = world.message_id(id, 2).await;
    assert_eq!(world.store().get_message(ann, second, Some(id)).await.unwrap().status, Some(Status::Delivered));
    let receipts = async |after, limit| {
        let receipts = world.store().list_receipts(bob, second, after, limit).await.unwrap();
        receipts.iter().map(|receipt| (receipt.user_id, receipt.status)).collect::<Vec<_>>()
    };
    assert_eq!(receipts(None, 10).await, [(bob, Status::Read), (carl, Status::Delivered)], "all but the sender");
    assert_eq!(receipts(None, 1).await, [(bob, Status::Read)]);
    assert_eq!(receipts(Some(bob), 10).await, [(carl, Status::Delivered)]);
    assert_eq!(receipts(Some(carl), 10).await, [], "nobody more is not nothing");
    let alone = world.group("alone", &[ann]).await;
    world.send(alone, ann, "x").await;
    assert_eq!(page(&world, ann, alone, Window::Newest, 1).await.items[0].status, Some(Status::Sent));
}
