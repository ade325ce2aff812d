//! A cluster's name in the test RabbitMQ for one test, removed with its last user.

use crate::contract::{Broker, PARTITIONS, within};
use futures_util::future::BoxFuture;
use lapin::{
    Channel, Connection, ConnectionProperties,
    options::{ExchangeDeleteOptions, QueueDeleteOptions},
};
use shared::{
    bus::{
        Bus, BusLost, BusState, BusStatus, CommandConsumer, EventConsumer, EventRole, PublishError, QueueState,
        rabbit::RabbitBus,
    },
    command::CommandBatch,
    config::{ClusterConfig, Secret, test_amqp_url},
    domain::UserId,
    event::DurableEvent,
};
use std::{sync::Arc, time::Duration};
use tokio::sync::watch;

pub struct Stage {
    pub config: ClusterConfig,
}

impl Stage {
    pub fn new() -> Arc<Self> {
        let url = test_amqp_url().expect("ROOKERY_TEST_AMQP_URL names a RabbitMQ");
        Arc::new(Self {
            config: ClusterConfig {
                redis: None,
                amqp: Some(Secret::new(url)),
                name: format!("test-{}", uuid::Uuid::now_v7().simple()),
                amqp_heartbeat: Duration::from_secs(1),
                probe: ([127, 0, 0, 1], 0).into(),
            },
        })
    }

    pub async fn bus(self: &Arc<Self>, roles: &[EventRole]) -> Arc<Held> {
        self.bus_through(&self.config, roles).await
    }

    /// Another way to the same queues.
    pub async fn bus_through(self: &Arc<Self>, config: &ClusterConfig, roles: &[EventRole]) -> Arc<Held> {
        let bus = self.begin(config, roles);
        within(bus.bus.connected()).await;
        bus
    }

    /// Perhaps there is nothing at its end.
    pub fn begin(self: &Arc<Self>, config: &ClusterConfig, roles: &[EventRole]) -> Arc<Held> {
        let bus = RabbitBus::new(config, PARTITIONS, roles).expect("the address is one");
        Arc::new(Held { bus, _stage: self.clone() })
    }

    pub fn event(&self) -> DurableEvent {
        DurableEvent::User { id: UserId::new(), urev: 1 }
    }

    /// What an operator, or a stranger, would have.
    pub async fn channel(&self) -> (Connection, Channel) {
        self.open().await.expect("RabbitMQ is there")
    }

    async fn open(&self) -> lapin::Result<(Connection, Channel)> {
        let url = self.config.amqp.as_ref().expect("made with one").expose();
        let connection = Connection::connect(url, ConnectionProperties::default()).await?;
        let channel = connection.create_channel().await?;
        Ok((connection, channel))
    }

    pub fn named(&self, rest: &str) -> String {
        format!("{}.{rest}", self.config.name)
    }

    async fn clear(&self) {
        // A test that failed because the broker is away says that itself.
        let Ok((_connection, channel)) = self.open().await else { return };
        let roles = [EventRole::Notify, EventRole::Index, EventRole::Push, EventRole::Files];
        let partitions = (0..PARTITIONS).map(|partition| self.named(&format!("commands.{partition:02}")));
        let events = roles.map(|role| self.named(&format!("events.{}", role.name())));
        for queue in partitions.chain(events).chain([self.named("events.dead")]) {
            let _ = channel.queue_delete(queue.into(), QueueDeleteOptions::default()).await;
        }
        for exchange in ["events", "dead"] {
            let _ = channel.exchange_delete(self.named(exchange).into(), ExchangeDeleteOptions::default()).await;
        }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // A runtime of its own: the test's may be ending. To the end, or the process would end before.
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
                let _ = runtime.block_on(async { tokio::time::timeout(Duration::from_secs(10), self.clear()).await });
            });
        });
    }
}

/// A bus that keeps its stage.
pub struct Held {
    bus: RabbitBus,
    _stage: Arc<Stage>,
}

impl Bus for Held {
    fn partitions(&self) -> u16 {
        self.bus.partitions()
    }

    fn publish(
        &self,
        partition: u16,
        batch: Arc<CommandBatch>,
        ttl: Duration,
    ) -> BoxFuture<'_, Result<(), PublishError>> {
        self.bus.publish(partition, batch, ttl)
    }

    fn consume(&self, partition: u16) -> BoxFuture<'_, Result<Box<dyn CommandConsumer>, BusLost>> {
        self.bus.consume(partition)
    }

    fn publish_events(&self, events: Vec<DurableEvent>) -> BoxFuture<'_, Result<(), PublishError>> {
        self.bus.publish_events(events)
    }

    fn consume_events(&self, role: EventRole) -> BoxFuture<'_, Result<Box<dyn EventConsumer>, BusLost>> {
        self.bus.consume_events(role)
    }

    fn queue(&self, partition: u16) -> BoxFuture<'_, Result<QueueState, BusLost>> {
        self.bus.queue(partition)
    }

    fn state(&self) -> BusState {
        self.bus.state()
    }

    fn watch(&self) -> watch::Receiver<BusStatus> {
        self.bus.watch()
    }
}

pub struct Rabbit {
    stage: Arc<Stage>,
    roles: Vec<EventRole>,
}

impl Broker for Rabbit {
    async fn start(roles: &[EventRole]) -> Self {
        Self { stage: Stage::new(), roles: roles.to_vec() }
    }

    async fn connect(&self) -> Arc<dyn Bus> {
        self.stage.bus(&self.roles).await
    }
}
