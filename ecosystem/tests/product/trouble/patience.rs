//! What takes its time by design: deadlines of ten and fifteen seconds, resends and looks after five. Told at once, side by side, so that all of it takes as long as the longest.

use crate::world::{PATIENCE, View, World, fresh, until};
use serde_json::json;
use std::time::{Duration, Instant};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

#[tokio::test]
async fn what_takes_its_time() {
    tokio::join!(
        hello_is_due_within_ten_seconds(),
        a_command_that_nobody_took_is_unavailable(),
        a_command_without_an_answer_times_out_and_is_safe_to_send_again(),
        commands_lost_with_the_bus_are_sent_again(),
        a_handshake_is_whole_within_five_seconds(),
        a_socket_outlives_its_token(),
        routing_is_away_for_longer_than_a_worker_waits(),
        another_epoch_makes_everybody_read_anew(),
    );
}

async fn hello_is_due_within_ten_seconds() {
    let world = World::set(&[]).await;
    let mut socket = world.gateways[0].open().await;
    let opened = Instant::now();
    assert_eq!(socket.closed().await, 4408);
    assert!(opened.elapsed() >= Duration::from_secs(9), "{:?}", opened.elapsed());
}

async fn a_command_that_nobody_took_is_unavailable() {
    let world = World::set(&[]).await;
    let [ann, ben] = world.people(["Ann", "Ben"]).await;
    let direct = world.direct(&ann, &ben).await;
    let mut socket = world.gateways[0].connect(&ann).await;
    world.bus.set_away(true);
    let message = json!({ "conversation_id": direct, "id": fresh(), "body": "hi" });
    let (told, rest) = tokio::join!(
        socket.ask("message.send", message.clone()),
        world.gateways[0].rest(&ann, "message.send", message.clone())
    );
    let told = told.unwrap_err();
    assert_eq!((told.code.as_str(), &told.detail["retry_after"]), ("unavailable", &json!(1)));
    assert_eq!((rest.status, rest.code().as_str()), (503, "unavailable"));
    world.bus.set_away(false);
    socket.say(&direct, "later").await;
    assert_eq!(world.stored(&direct).await, ["later"], "nothing was done");
    socket.ok("message.send", message).await;
    assert_eq!(world.stored(&direct).await, ["later", "hi"]);
}

async fn a_command_without_an_answer_times_out_and_is_safe_to_send_again() {
    let mut world = World::set(&[]).await;
    let [ann, ben] = world.people(["Ann", "Ben"]).await;
    let direct = world.direct(&ann, &ben).await;
    let mut socket = world.gateways[0].connect(&ann).await;
    world.worker.take().unwrap().stop().await;
    let message = json!({ "conversation_id": direct, "id": fresh(), "body": "hi" });
    let (told, rest) = tokio::join!(
        socket.ask("message.send", message.clone()),
        world.gateways[0].rest(&ann, "message.send", message.clone())
    );
    assert_eq!(told.unwrap_err().code, "timeout");
    assert_eq!((rest.status, rest.code().as_str()), (504, "timeout"));
    world.start_worker().await;
    socket.ok("message.send", message).await;
    assert_eq!(world.stored(&direct).await, ["hi"]);
}

async fn commands_lost_with_the_bus_are_sent_again() {
    let mut world = World::set(&[]).await;
    let [ann, ben] = world.people(["Ann", "Ben"]).await;
    let direct = world.direct(&ann, &ben).await;
    let mut socket = world.gateways[0].connect(&ann).await;
    for round in 0..2 {
        world.worker.take().unwrap().stop().await;
        let mut asked = vec![];
        for n in 0..20 {
            let message = json!({ "conversation_id": direct, "body": format!("{round} {n:02}") });
            asked.push(socket.begin("message.send", message).await);
        }
        until("they are on the bus", async || world.gateways[0].app.batcher.unanswered() == 20).await;
        world.bus.restart();
        world.start_worker().await;
        for re in asked {
            socket.answer(re).await.unwrap();
        }
    }
    // Each once; their order is promised except across a resend.
    let mut stored = world.stored(&direct).await;
    stored.sort();
    let said = (0..2).flat_map(|round| (0..20).map(move |n| format!("{round} {n:02}")));
    assert_eq!(stored, said.collect::<Vec<_>>());
}

async fn a_handshake_is_whole_within_five_seconds() {
    let world = World::set(&[]).await;
    let mut half = TcpStream::connect(world.gateways[0].address).await.unwrap();
    let opened = Instant::now();
    half.write_all(b"GET /v1/ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n").await.unwrap();
    let mut answer = vec![];
    // A reset is an end as well.
    let _ = timeout(PATIENCE, half.read_to_end(&mut answer)).await.expect("it ends");
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 408"), "{}", String::from_utf8_lossy(&answer));
    assert!(opened.elapsed() >= Duration::from_secs(4), "{:?}", opened.elapsed());
}

/// A token opens the door for as long as it says (and five seconds more, for clocks that differ); who is in stays in.
async fn a_socket_outlives_its_token() {
    let world = World::set(&[("JWT_EXPIRES_IN", "1s")]).await;
    let [ann, ben] = world.people(["Ann", "Ben"]).await;
    let gateway = &world.gateways[0];
    let direct = world.direct(&ann, &ben).await;
    let mut socket = gateway.connect(&ann).await;
    until("the token is over", async || gateway.call("GET", "/v1/auth/me", Some(&ann), None).await.status == 401).await;
    let mut late = gateway.open().await;
    assert_eq!(late.refused("hello", json!({ "token": ann.token })).await, "unauthorized");
    assert_eq!(late.closed().await, 4401);
    socket.say(&direct, "still here").await;
}

/// The relay tells everybody, and the gateway asks again for the answer.
async fn routing_is_away_for_longer_than_a_worker_waits() {
    let world = World::start().await;
    let [ann, ben] = world.people(["Ann", "Ben"]).await;
    let direct = world.direct(&ann, &ben).await;
    let (mut here, mut there) = (world.gateways[0].connect(&ann).await, world.gateways[1].connect(&ben).await);
    let mut view = View::begin(&ben, &mut there).await;
    world.routing.set_away(true);
    let sent = here.begin("message.send", json!({ "conversation_id": direct, "body": "hello?" })).await;
    let role = json!({ "kind": "group", "title": "Begun meanwhile", "member_ids": [ben.id] });
    let begun = here.begin("conversation.create", role).await;
    assert_eq!(here.refused("typing", json!({ "conversation_id": direct, "typing": true })).await, "unavailable");
    assert_eq!(here.refused("presence.watch", json!({ "user_ids": [ben.id] })).await, "unavailable");
    // How long it is away.
    tokio::time::sleep(Duration::from_secs(4)).await;
    world.routing.set_away(false);
    here.answer(sent).await.unwrap();
    here.answer(begun).await.unwrap();
    view.settle(&world, &mut there).await;
    until("the outbox is empty", async || world.number("SELECT count(*) FROM outbox", &[]).await == 0).await;
}

async fn another_epoch_makes_everybody_read_anew() {
    let world = World::start().await;
    let [ann, ben] = world.people(["Ann", "Ben"]).await;
    let direct = world.direct(&ann, &ben).await;
    let (mut here, mut there) = (world.gateways[0].connect(&ann).await, world.gateways[1].connect(&ben).await);
    let mut view = View::begin(&ben, &mut there).await;
    here.say(&direct, "restored").await;
    here.say(&direct, "lost").await;
    view.follow(&mut there, |view| view.texts(&direct).len() == 2).await;
    // A backup from before the last message.
    let restore = "WITH m AS (DELETE FROM messages WHERE body = 'lost'), c AS (UPDATE conversations SET last_seq = 1)
        UPDATE meta SET value = gen_random_uuid()::text WHERE key = 'epoch'";
    world.run(restore, &[]).await;
    view.follow(&mut there, |view| view.texts(&direct) == ["restored"]).await;
    view.settle(&world, &mut there).await;
    here.expect("resync").await;
    // At the place that the lost one had: not passed over as one that was passed on before.
    here.say(&direct, "anew").await;
    view.follow(&mut there, |view| view.texts(&direct) == ["restored", "anew"]).await;
}
