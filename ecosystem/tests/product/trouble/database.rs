//! PostgreSQL breaks its connections or is away; a worker dies between its commit and its word. Nothing that was
//! answered is lost, everything waits as long as it may, and resumes by itself.

use crate::world::{Socket, View, World, id, until};
use serde_json::json;
use shared::{
    domain::{ConversationId, MessageId, MessageKind, content_digest},
    event::DurableEvent,
    store::append::{Appender, Bookkeeping, NewMessage},
};
use uuid::Uuid;

async fn terminate(world: &World) {
    let all = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid()";
    world.number(all, &[]).await;
}

async fn say_many(socket: &mut Socket, conversation: &str, count: usize) {
    let mut asked = vec![];
    for n in 0..count {
        asked.push(
            socket.begin("message.send", json!({ "conversation_id": conversation, "body": format!("{n:03}") })).await,
        );
        if n >= 20 {
            socket.answer(asked[n - 20]).await.unwrap();
        }
    }
    for re in asked.drain(..).skip(count - 20) {
        socket.answer(re).await.unwrap();
    }
}

#[tokio::test]
async fn connections_break_while_people_talk() {
    let world = World::start().await;
    let [ann, ben] = world.people(["Ann", "Ben"]).await;
    let direct = world.direct(&ann, &ben).await;
    let (mut here, mut there) = (world.gateways[0].connect(&ann).await, world.gateways[1].connect(&ben).await);
    let mut view = View::begin(&ben, &mut there).await;
    let breaks = async {
        for stored in [20, 60, 100] {
            until("some is stored", async || world.number("SELECT last_seq FROM conversations", &[]).await >= stored)
                .await;
            terminate(&world).await;
        }
    };
    tokio::join!(breaks, say_many(&mut here, &direct, 150));
    let stored = world.stored(&direct).await;
    assert_eq!(stored, (0..150).map(|n| format!("{n:03}")).collect::<Vec<_>>());
    view.settle(&world, &mut there).await;
}

/// Commands wait for it, reads say that it is away, readiness is off; and then everything goes on.
#[tokio::test]
async fn postgresql_is_away_for_a_while() {
    let world = World::set(&[]).await;
    let [ann, ben] = world.people(["Ann", "Ben"]).await;
    let direct = world.direct(&ann, &ben).await;
    let gateway = &world.gateways[0];
    let mut here = gateway.connect(&ann).await;
    here.say(&direct, "before").await;
    let ready = async || gateway.call("GET", "/health/ready", None, None).await;
    assert_eq!(ready().await.expect(200)["status"], "ready");

    world.allow_connections(false).await;
    terminate(&world).await;
    until("it is not ready", async || ready().await.status == 503).await;
    let parts = ready().await.json();
    assert_eq!((&parts["postgresql"], &parts["bus"], &parts["routing"]), (&json!("down"), &json!("up"), &json!("up")));
    assert_eq!(gateway.call("GET", "/health/db", None, None).await.status, 503);
    assert_eq!(gateway.call("GET", "/health", None, None).await.status, 200, "the process lives");
    let sent = here.begin("message.send", json!({ "conversation_id": direct, "body": "meanwhile" })).await;
    assert_eq!(here.refused("conversation.list", json!({})).await, "unavailable");
    let rest = gateway.call("GET", "/v1/conversations", Some(&ann), None).await;
    assert_eq!((rest.status, rest.code().as_str()), (503, "unavailable"));
    assert!(rest.header("retry-after").is_some());
    // Hello needs no query.
    let mut there = gateway.connect(&ben).await;

    world.allow_connections(true).await;
    here.answer(sent).await.unwrap();
    assert_eq!(there.expect("message.created").await["data"]["message"]["body"], "meanwhile");
    until("it is ready again", async || ready().await.status == 200).await;
    assert_eq!(world.stored(&direct).await, ["before", "meanwhile"]);
}

/// A worker that committed and died before it could say so: those concerned are told to read again.
#[tokio::test]
async fn what_a_dead_worker_has_left_behind_is_told() {
    let world = World::start().await;
    let [ann, ben] = world.people(["Ann", "Ben"]).await;
    let direct = world.direct(&ann, &ben).await;
    let mut there = world.gateways[1].connect(&ben).await;
    let mut view = View::begin(&ben, &mut there).await;
    let mut appender = Appender::connect(&world.database.store).await.unwrap();
    for n in 0..3 {
        let message = NewMessage {
            id: MessageId::new(),
            conversation: ConversationId(id(&direct)),
            sender: ann.user(),
            kind: MessageKind::Text,
            body: "famous last words",
            extra: None,
            reply_to: None,
            digest: content_digest(MessageKind::Text, "famous last words", None, None),
        };
        // A number that nobody holds a lock for.
        let book = Bookkeeping { outbox: Uuid::now_v7(), worker: 7_000_000_000, handed_on: &[] };
        appender.append(&[message], &[], book).await.unwrap();
        assert_eq!(there.expect("resync").await["data"], json!({ "conversation_ids": [direct] }));
        view.catch_up(&mut there).await;
        assert_eq!(view.texts(&direct).len(), n + 1);
        view.settle(&world, &mut there).await;
    }
    until("the outbox is empty", async || world.number("SELECT count(*) FROM outbox", &[]).await == 0).await;
}

/// A pointer that says what everybody has had already disturbs nobody; one that cannot be read stops nothing.
#[tokio::test]
async fn old_and_unreadable_pointers_disturb_nobody() {
    let world = World::set(&[]).await;
    let [ann, ben] = world.people(["Ann", "Ben"]).await;
    let direct = world.direct(&ann, &ben).await;
    let mut there = world.gateways[0].connect(&ben).await;
    world.gateways[0].connect(&ann).await.say(&direct, "hi").await;
    there.expect("message.created").await;
    let pointer = DurableEvent::Conversation {
        id: ConversationId(id(&direct)),
        from: Default::default(),
        to: shared::domain::Place(1),
    };
    let put = "INSERT INTO outbox (id, worker, events) VALUES (gen_random_uuid(), 0, $1)";
    for events in [json!([pointer]), json!("nonsense"), json!([{ "Weather": { "tomorrow": "rain" } }])] {
        world.run(put, &[&events]).await;
    }
    until("the outbox is empty", async || world.number("SELECT count(*) FROM outbox", &[]).await == 0).await;
    world.gateways[0].connect(&ann).await.say(&direct, "and on").await;
    there.expect("message.created").await;
    assert_eq!(there.names(), Vec::<&str>::new(), "no resync");
}
