//! Commands that are none: of a newer version, or a batch of nothing.

use crate::gateway::{Gateway, code, send};
use crate::world::{World, until};
use shared::{
    bus::Bus,
    command::Command,
    domain::{CommandId, ConversationId},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_of_a_newer_version_is_refused_and_forgotten() {
    let world = World::start(1).await;
    let ann = world.person().await;
    let conversation = world.conversation(ann, 0).await;
    let _worker = world.worker().await;
    let mut gateway = Gateway::join(&world, &[ann]).await;
    let id = CommandId::new();
    assert_eq!(code(&gateway.ask(ann, id, Command::Unknown).await), "unsupported");
    assert_eq!(world.number("SELECT count(*) FROM executed", &[]).await, 0);
    // A worker that knows it carries it out.
    let title =
        Command::UpdateConversation { conversation_id: conversation, title: Some("new".into()), description: None };
    assert_eq!(code(&gateway.ask(ann, id, title).await), "ok");
    // Between others it changes nothing for them.
    let [one, two] = ["one", "two"].map(|body| (ann, CommandId::new(), send(conversation, body)));
    let tickets = gateway.publish(vec![one, (ann, CommandId::new(), Command::Unknown), two]).await;
    until("both are stored", async || world.stored(conversation).await == ["one", "two"]).await;
    assert_eq!(tickets.len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_of_nothing_is_acknowledged() {
    let world = World::start(1).await;
    let ann = world.person().await;
    let worker = world.worker().await;
    let mut gateway = Gateway::join(&world, &[ann]).await;
    gateway.publish_to(0, vec![]).await;
    let nowhere = send(ConversationId::new(), "hello?");
    assert_eq!(code(&gateway.ask(ann, CommandId::new(), nowhere).await), "not_found");
    gateway.publish_to(0, vec![]).await;
    until("it is taken", async || world.waiting().await == 0).await;
    worker.stop().await;
    assert_eq!((world.waiting().await, world.bus.queue(0).await.unwrap().consumers), (0, 0));
}
