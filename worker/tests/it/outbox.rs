//! What a worker has stored and not handed on: taken over at once when it is dead, after a while when it is alive and
//! silent, and then it may speak again whenever it likes.

use crate::gateway::{Gateway, send};
use crate::world::{Hands, World, until};
use shared::{
    bus::Bus,
    domain::{CommandId, ConversationId, Place, UserId},
    event::InboxItem,
};

/// A message that this worker has stored, while nobody can be told.
async fn stored_and_not_told(world: &World) -> (Hands, Gateway, UserId, ConversationId) {
    let ann = world.person().await;
    let conversation = world.conversation(ann, 0).await;
    let worker = world.worker().await;
    let mut gateway = Gateway::join(world, &[ann]).await;
    gateway.ask(ann, CommandId::new(), send(conversation, "one")).await;
    until("all of it is done", async || world.outbox_rows().await == 0).await;
    world.routing.set_away(true);
    gateway.publish(vec![(ann, CommandId::new(), send(conversation, "two"))]).await;
    until("it is stored", async || world.stored(conversation).await.len() == 2).await;
    (worker, gateway, ann, conversation)
}

/// Until everybody in it is told to read the conversation again, up to this place.
async fn until_resync(gateway: &mut Gateway, conversation: ConversationId, place: i64, to: UserId) {
    loop {
        for item in gateway.next().await {
            match item {
                InboxItem::Resync { conversation: Some(found), to: people } => {
                    assert_eq!((found, &people[..]), ((conversation, Place(place)), &[to][..]));
                    return;
                }
                InboxItem::Events { events, .. } => {
                    assert!(events.iter().all(|event| event.position.place().unwrap().1 < Place(place)), "{events:?}");
                }
                _ => {}
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_killed_worker_has_stored_is_told_at_once() {
    let world = World::start(1).await;
    let (worker, mut gateway, ann, conversation) = stored_and_not_told(&world).await;
    let _other = world.worker().await;
    until("another is there", async || world.bus.queue(0).await.unwrap().consumers == 2).await;
    // A living one's would not be taken over within the hour.
    assert_eq!(world.run("UPDATE outbox SET at = at + interval '1 hour'", &[]).await, 1);
    drop(worker);
    world.routing.set_away(false);
    until_resync(&mut gateway, conversation, 2, ann).await;
    until("all of it is done", async || world.outbox_rows().await == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_workers_rows_are_told_after_a_while_and_its_late_word_harms_nobody() {
    let world = World::start(1).await;
    let (worker, mut gateway, ann, conversation) = stored_and_not_told(&world).await;
    let ice = worker.freeze().await;
    let _other = world.worker().await;
    world.routing.set_away(false);
    until_resync(&mut gateway, conversation, 2, ann).await;
    until("all of it is done", async || world.outbox_rows().await == 0).await;
    drop(ice);
    // The event itself comes late, at a place that everybody who has read again is past: hubs drop it.
    let late = loop {
        let items = gateway.next().await;
        let events = items.into_iter().find_map(|item| match item {
            InboxItem::Events { events, .. } => Some(events),
            _ => None,
        });
        if let Some(events) = events {
            break events;
        }
    };
    assert_eq!(late[0].position.place(), Some((conversation, Place(2))));
    // And it goes on as if nothing had been.
    gateway.ask(ann, CommandId::new(), send(conversation, "three")).await;
    assert_eq!(world.stored(conversation).await, ["one", "two", "three"]);
    until("all of it is done", async || world.outbox_rows().await == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn very_many_rows_of_the_dead_are_told_of_together() {
    let world = World::start(1).await;
    let ann = world.person().await;
    let mut gateway = Gateway::join(&world, &[ann]).await;
    let conversation = world.conversation(ann, 0).await;
    // A worker that never was.
    let rows = "INSERT INTO outbox (id, worker, events) SELECT gen_random_uuid(), 1, jsonb_build_array(
                    jsonb_build_object('Conversation', jsonb_build_object('id', $1::text, 'from', n - 1, 'to', n)))
                FROM generate_series(1, 400) AS n";
    world.run(rows, &[&conversation.to_string()]).await;
    let _worker = world.worker().await;
    until_resync(&mut gateway, conversation, 400, ann).await;
    until("all of it is done", async || world.outbox_rows().await == 0).await;
}
