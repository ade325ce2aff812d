//! The same on a real RabbitMQ: places move from worker to worker there too, in order and with nothing done twice.

use crate::{
    gateway::Talk,
    partitions::until_shared,
    world::{World, at_the_end, until},
};
use lapin::{Connection, ConnectionProperties, options::QueueDeleteOptions};
use shared::{
    bus::rabbit::RabbitBus,
    config::{ClusterConfig, Config, Environment, test_amqp_url},
};
use std::sync::Arc;

const PARTITIONS: u16 = 4;

struct Cluster {
    config: ClusterConfig,
    url: String,
}

impl Cluster {
    fn new() -> Self {
        let url = test_amqp_url().expect("ROOKERY_TEST_AMQP_URL is not set: run the tests by `./rookery test`");
        let env = Environment::of([
            ("JWT_SECRET", "a secret that only tests use, of more than 32 bytes"),
            ("DATABASE_URL", "postgres://nowhere/none"),
            ("AMQP_URL", &url),
            ("AMQP_HEARTBEAT_SECONDS", "1"),
            ("CLUSTER_NAME", &format!("test-{}", uuid::Uuid::now_v7())),
        ]);
        Self { config: Config::read(&env).unwrap().cluster, url }
    }

    /// What another process would hold, made by that process.
    fn process(&self) -> impl FnOnce() -> Arc<RabbitBus> + Send + 'static {
        let config = self.config.clone();
        move || Arc::new(RabbitBus::new(&config, PARTITIONS, &[]).unwrap())
    }
}

/// Nobody else may trip over its queues.
impl Drop for Cluster {
    fn drop(&mut self) {
        let (url, name) = (self.url.clone(), self.config.name.clone());
        at_the_end(async move {
            let connection = Connection::connect(&url, ConnectionProperties::default()).await.unwrap();
            let channel = connection.create_channel().await.unwrap();
            for partition in 0..PARTITIONS {
                let queue = format!("{name}.commands.{partition:02}");
                channel.queue_delete(queue.into(), QueueDeleteOptions::default()).await.unwrap();
            }
        });
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_broker_places_move_in_order_and_nothing_is_done_again() {
    let world = World::start(PARTITIONS).await;
    let cluster = Cluster::new();
    let routing = || Arc::new(world.routing.clone());
    let first = world.worker_on(cluster.process(), routing()).await;
    let bus = cluster.process()();
    bus.connected().await;
    let talk = Talk::begin_on(bus.clone(), &world).await;
    until_shared(&[&first], PARTITIONS, &[4]).await;
    let second = world.worker_on(cluster.process(), routing()).await;
    until_shared(&[&first, &second], PARTITIONS, &[2, 2]).await;
    for turn in 0..30 {
        let from = if turn % 2 == 0 { &first } else { &second };
        let before = talk.answered();
        from.give_one_up();
        until("commands are answered meanwhile", async || talk.answered() > before + 20).await;
    }
    assert_eq!(talk.repeated(), 0, "what was taken was done and acknowledged before");
    until_shared(&[&first, &second], PARTITIONS, &[2, 2]).await;
    drop(first);
    until_shared(&[&second], PARTITIONS, &[4]).await;
    let before = talk.answered();
    until("the other goes on", async || talk.answered() > before + 100).await;
    talk.end(&world).await;
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_worker_loses_its_places_and_comes_back_to_its_share() {
    let world = World::start(PARTITIONS).await;
    let cluster = Cluster::new();
    let routing = || Arc::new(world.routing.clone());
    let first = world.worker_on(cluster.process(), routing()).await;
    let second = world.worker_on(cluster.process(), routing()).await;
    let bus = cluster.process()();
    bus.connected().await;
    let talk = Talk::begin_on(bus.clone(), &world).await;
    until_shared(&[&first, &second], PARTITIONS, &[2, 2]).await;
    let ice = first.freeze().await;
    // By then the broker has missed its heartbeats.
    until("the other has all of them", async || second.partitions().len() == usize::from(PARTITIONS)).await;
    let before = talk.answered();
    until("it answers", async || talk.answered() > before + 100).await;
    drop(ice);
    until_shared(&[&first, &second], PARTITIONS, &[2, 2]).await;
    talk.end(&world).await;
}
