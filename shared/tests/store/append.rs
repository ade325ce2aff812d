//! The append by itself: what it numbers, what it refuses, and what it makes of changes that are committed while it waits.

use crate::world::World;
use shared::{
    domain::{ConversationId, MessageId, MessageKind, UserId},
    event::DurableEvent,
    store::append::{Appended, Appender, Bookkeeping, NewMarks, NewMessage, Verdict},
};
use std::time::Duration;
use tokio_postgres::{Client, NoTls};
use uuid::Uuid;

const WORKER: i64 = 7;

fn message(conversation: ConversationId, sender: UserId, body: &str) -> NewMessage<'_> {
    let (id, kind) = (MessageId::new(), MessageKind::Text);
    NewMessage { id, conversation, sender, kind, body, extra: None, reply_to: None, digest: *id.0.as_bytes() }
}

async fn append(appender: &mut Appender, messages: &[NewMessage<'_>]) -> Vec<Appended> {
    append_with(appender, messages, &[]).await.0
}

async fn append_with(
    appender: &mut Appender,
    messages: &[NewMessage<'_>],
    handed_on: &[Uuid],
) -> (Vec<Appended>, Uuid) {
    let outbox = Uuid::now_v7();
    let book = Bookkeeping { outbox, worker: WORKER, handed_on };
    (appender.append(messages, &[], book).await.unwrap().0, outbox)
}

fn said(appended: &[Appended]) -> Vec<(Verdict, i64)> {
    appended.iter().map(|appended| (appended.verdict, appended.seq)).collect()
}

fn new(seqs: impl IntoIterator<Item = i64>) -> Vec<(Verdict, i64)> {
    seqs.into_iter().map(|seq| (Verdict::New, seq)).collect()
}

/// Another transaction, on a connection of its own.
async fn other(world: &World) -> Client {
    let url = world.database.config.store.url.expose();
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client.batch_execute("BEGIN").await.unwrap();
    client
}

/// Until the append stands before a lock of the other transaction.
async fn waits(world: &World) {
    let sql = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'rookery sequencer'
               AND wait_event_type = 'Lock' AND datname = current_database()";
    while world.number(sql, &[]).await == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn head(world: &World, conversation: ConversationId) -> i64 {
    world.number("SELECT last_seq FROM conversations WHERE id = $1", &[&conversation.0]).await
}

async fn rows(world: &World, conversation: ConversationId) -> i64 {
    world.number("SELECT count(*) FROM messages WHERE conversation_id = $1", &[&conversation.0]).await
}

#[tokio::test]
async fn a_batch_is_numbered_in_its_order_and_says_what_it_has_moved() {
    let world = World::create().await;
    let (ann, bob) = (world.user("ann").await, world.user("bob").await);
    let (a, b) = (world.group("a", &[ann, bob]).await, world.group("b", &[bob]).await);
    world.send(a, ann, "before").await;
    world.rename(a, ann, "A").await;
    let mut appender = Appender::connect(world.store()).await.unwrap();

    let batch =
        [message(a, ann, "1"), message(b, bob, "2"), message(a, bob, "3"), message(b, bob, "4"), message(a, ann, "5")];
    let (appended, outbox) = append_with(&mut appender, &batch, &[]).await;
    assert_eq!(said(&appended), new([2, 1, 3, 2, 4]));
    assert_eq!(appended.iter().map(|appended| appended.rev).collect::<Vec<_>>(), [1, 0, 1, 0, 1]);
    assert_eq!((head(&world, a).await, head(&world, b).await), (4, 2));
    let sql = "SELECT body, created_at FROM messages WHERE conversation_id = $1 ORDER BY seq";
    let bodies = world.sql.query(sql, &[&a.0]).await.unwrap();
    assert_eq!(bodies.iter().map(|row| row.get::<_, &str>(0)).collect::<Vec<_>>(), ["before", "1", "3", "5"]);
    assert!(bodies.is_sorted_by_key(|row| row.get::<_, chrono::DateTime<chrono::Utc>>(1)));

    // The next one takes away what has been handed on, and leaves its own.
    let (_, next) = append_with(&mut appender, &[message(b, bob, "6")], &[outbox]).await;
    let left = world.store().update_outbox_owner(1, 0.0).await.unwrap();
    let [row] = left.as_slice() else { panic!("{} rows", left.len()) };
    let moved = |id, from, to| DurableEvent::Conversation {
        id,
        from: shared::domain::Place(from),
        to: shared::domain::Place(to),
    };
    assert_eq!((row.id, row.events.as_slice()), (next, [moved(b, 2, 3)].as_slice()));
}

#[tokio::test]
async fn what_was_moved_is_told_of_each_conversation() {
    let world = World::create().await;
    let ann = world.user("ann").await;
    let (a, b) = (world.group("a", &[ann]).await, world.group("b", &[ann]).await);
    world.rename(b, ann, "B").await;
    let mut appender = Appender::connect(world.store()).await.unwrap();
    append(&mut appender, &[message(a, ann, "1"), message(b, ann, "2"), message(a, ann, "3")]).await;
    let row = world.store().update_outbox_owner(1, 0.0).await.unwrap().pop().unwrap();
    let mut told = row.events;
    told.sort_by_key(|event| matches!(event, DurableEvent::Conversation { id, .. } if *id == b));
    let moved = |id, from, to| DurableEvent::Conversation {
        id,
        from: shared::domain::Place(from),
        to: shared::domain::Place(to),
    };
    assert_eq!(told, [moved(a, 0, 2), moved(b, 1, 2)]);
}

#[tokio::test]
async fn where_one_is_not_sound_each_is_judged_by_itself() {
    let world = World::create().await;
    let (ann, bob) = (world.user("ann").await, world.user("bob").await);
    let (open, closed) = (world.group("open", &[ann]).await, world.group("closed", &[ann]).await);
    world.sql.execute("UPDATE conversations SET closed_at = now() WHERE id = $1", &[&closed.0]).await.unwrap();
    let mut appender = Appender::connect(world.store()).await.unwrap();
    let first = message(open, ann, "first");
    assert_eq!(said(&append(&mut appender, std::slice::from_ref(&first)).await), new([1]));

    let other_content = NewMessage { digest: [9; 16], ..first.clone() };
    let good_reply = NewMessage { reply_to: Some(first.id), ..message(open, ann, "good reply") };
    let bad_reply = NewMessage { reply_to: Some(MessageId::new()), ..message(open, ann, "bad reply") };
    let unsound = [
        (first.clone(), (Verdict::Same, 1)),
        (other_content, (Verdict::IdConflict, 1)),
        (message(open, bob, "of a stranger"), (Verdict::NotFound, 0)),
        (message(ConversationId::new(), ann, "to nowhere"), (Verdict::NotFound, 0)),
        (message(closed, ann, "too late"), (Verdict::Closed, 0)),
        (bad_reply, (Verdict::BadReply, 0)),
    ];
    let mut seq = 1;
    for (wrong, verdict) in unsound {
        let batch = [message(open, ann, "before it"), wrong, NewMessage { id: MessageId::new(), ..good_reply.clone() }];
        let appended = append(&mut appender, &batch).await;
        let got = said(&appended);
        assert_eq!((got[0], got[2]), ((Verdict::New, seq + 1), (Verdict::New, seq + 2)), "{verdict:?}");
        assert_eq!((got[1].0, got[1].1), verdict);
        seq += 2;
        assert_eq!((head(&world, open).await, rows(&world, open).await), (seq, seq), "no hole");
    }
    assert_eq!(rows(&world, closed).await, 0);
    // All of it sound again.
    assert_eq!(said(&append(&mut appender, &[good_reply]).await), new([seq + 1]));
}

#[tokio::test]
async fn who_is_removed_while_the_append_waits_sends_nothing() {
    let world = World::create().await;
    let (ann, bob) = (world.user("ann").await, world.user("bob").await);
    let group = world.group("group", &[ann, bob]).await;
    let mut appender = Appender::connect(world.store()).await.unwrap();
    let other = other(&world).await;
    // As an apply does it: the head first, which the append has to wait for, and the member after it.
    let rev = "UPDATE conversations SET last_rev = last_rev + 1, member_version = member_version + 1 WHERE id = $1";
    other.execute(rev, &[&group.0]).await.unwrap();
    other
        .execute("DELETE FROM members WHERE conversation_id = $1 AND user_id = $2", &[&group.0, &bob.0])
        .await
        .unwrap();
    let batch = [message(group, ann, "stays"), message(group, bob, "gone")];
    let (appended, ()) = tokio::join!(append(&mut appender, &batch), async {
        waits(&world).await;
        other.batch_execute("COMMIT").await.unwrap();
    });
    assert_eq!(said(&appended), [(Verdict::New, 1), (Verdict::NotFound, 0)]);
    assert_eq!((appended[0].rev, appended[0].member_version), (1, 1), "as they are after the removal");
    assert_eq!((head(&world, group).await, rows(&world, group).await), (1, 1));
}

#[tokio::test]
async fn what_another_stores_while_the_append_waits_is_counted() {
    let world = World::create().await;
    let ann = world.user("ann").await;
    let group = world.group("group", &[ann]).await;
    let mut appender = Appender::connect(world.store()).await.unwrap();
    let batch = [message(group, ann, "mine"), message(group, ann, "mine too")];
    let other = other(&world).await;
    other.execute("UPDATE conversations SET last_seq = last_seq + 1 WHERE id = $1", &[&group.0]).await.unwrap();
    // The same message, by a worker that was thought dead.
    let sql = "INSERT INTO messages (conversation_id, seq, id, sender_id, kind, body, digest, rev, created_at)
               VALUES ($1, 1, $2, $3, 'text', 'mine too', $4, 0, now())";
    let digest = batch[1].digest.as_slice();
    other.execute(sql, &[&group.0, &batch[1].id.0, &ann.0, &digest]).await.unwrap();
    let (appended, ()) = tokio::join!(append(&mut appender, &batch), async {
        waits(&world).await;
        other.batch_execute("COMMIT").await.unwrap();
    });
    assert_eq!(said(&appended), [(Verdict::New, 2), (Verdict::Same, 1)]);
    assert_eq!((head(&world, group).await, rows(&world, group).await), (2, 2));
}

#[tokio::test]
async fn marks_go_with_the_messages_or_not_at_all() {
    let world = World::create().await;
    let (ann, bob) = (world.user("ann").await, world.user("bob").await);
    let group = world.group("group", &[ann, bob]).await;
    let mut appender = Appender::connect(world.store()).await.unwrap();
    let marks = [NewMarks { conversation: group, user: bob, read_seq: Some(1), delivered_seq: None }];
    world.send(group, ann, "one").await;
    let book = Bookkeeping { outbox: Uuid::now_v7(), worker: WORKER, handed_on: &[] };
    // Its first try has to be taken back, the marks with it: what it raised must still count as raised.
    let batch = [message(group, ann, "two"), message(group, UserId::new(), "of a stranger")];
    let (appended, marked) = appender.append(&batch, &marks, book).await.unwrap();
    assert_eq!(said(&appended), [(Verdict::New, 2), (Verdict::NotFound, 0)]);
    let marked = marked[0].unwrap();
    assert_eq!((marked.read_seq, marked.delivered_seq, marked.changed), (1, 1, true));
    let (appended, marked) = appender
        .append(&[message(group, ann, "three")], &marks, Bookkeeping { outbox: Uuid::now_v7(), ..book })
        .await
        .unwrap();
    assert_eq!((said(&appended), marked[0].unwrap().changed), (new([3]), false));
}
