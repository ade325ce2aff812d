//! The bus over RabbitMQ.
//!
//! Each process has two connections, so that a broker that stops reading from publishers does not stop acknowledgements,
//! and so that a worker that stands still loses its partitions within seconds while a gateway that is busy for a moment
//! keeps its connection. Commands are not persistent, because the promise is the answer; durable events are.
//!
//! What becomes of a publication is one of three things, and never a guess: the broker has it (`Ok`), it will never be
//! applied (`Full`, `Unroutable`, `Blocked`, `Away`), or nobody can say (`Broken`). Nothing here is queued by us: who
//! publishes waits for the broker's word, [`CONFIRM_MAX`] at most, so what is in flight is bounded by who publishes.

mod consume;
mod dial;
mod link;
mod publish;
mod topology;

use super::{Bus, BusLost, BusState, BusStatus, CommandConsumer, EventConsumer, EventRole, PublishError, QueueState};
use crate::{
    clock,
    command::CommandBatch,
    config::ClusterConfig,
    event::DurableEvent,
    wire::{self, MESSAGE_MAX},
};
use consume::{Commands, Events};
pub use dial::Address;
use dial::Dial;
use futures_util::future::{self, BoxFuture};
use lapin::{BasicProperties, Channel};
use link::{Link, Live};
use metrics::{Histogram, counter, histogram};
use publish::Publishing;
use std::{
    fmt::Display,
    sync::{Arc, OnceLock},
    time::Duration,
};
use tokio::{runtime::Handle, sync::watch, time::timeout};
use topology::Topology;

/// A broker that has not decided about a message by then is taken for lost, and its connection for broken.
pub const CONFIRM_MAX: Duration = Duration::from_secs(5);
/// For a place at a queue, with the connection where it is not there yet.
const SUBSCRIBE_MAX: Duration = Duration::from_secs(5);
/// For the state to say what a publication has seen already.
const STATE_MAX: Duration = Duration::from_secs(1);
/// Silence after which the publishing connection is given up, twice over. A message without a confirm tells it sooner.
const PUBLISH_HEARTBEAT: Duration = Duration::from_secs(5);
/// Delivery modes: gone with the broker, and kept over its restart.
const NOT_PERSISTENT: u8 = 1;
const PERSISTENT: u8 = 2;

pub struct RabbitBus {
    topology: Arc<Topology>,
    publishing: Link<Publishing>,
    /// Made when somebody consumes: a gateway does not.
    consuming: OnceLock<Link<()>>,
    consume_dial: Dial,
    runtime: Handle,
    publish_seconds: Histogram,
}

impl RabbitBus {
    /// Connects in the background, and again whenever it has to; until then it is `Away`. `roles` get every durable
    /// event from now on. An error says what is wrong with `AMQP_URL`. Within a runtime; telemetry starts first.
    pub fn new(config: &ClusterConfig, partitions: u16, roles: &[EventRole]) -> Result<Self, String> {
        let url = config.amqp.as_ref().ok_or("is required: the address of a RabbitMQ")?;
        let runtime = Handle::try_current().map_err(|error| error.to_string())?;
        let topology = Arc::new(Topology::new(&config.name, partitions, roles));
        let dial = Dial::new(url, PUBLISH_HEARTBEAT, "rookery publish")?;
        Ok(Self {
            publishing: Link::start("publish", dial, &runtime, topology.clone()),
            consuming: OnceLock::new(),
            consume_dial: Dial::new(url, config.amqp_heartbeat, "rookery consume")?,
            topology,
            runtime,
            publish_seconds: histogram!("rookery_bus_publish_seconds"),
        })
    }

    /// Resolves when the broker has been reached.
    pub async fn connected(&self) {
        self.publishing.wait().await;
    }

    /// The publishing connection, if it may be used now.
    fn publisher(&self) -> Result<Arc<Live<Publishing>>, PublishError> {
        let live = self.publishing.live().ok_or(PublishError::Away)?;
        if live.is_blocked() { Err(PublishError::Blocked) } else { Ok(live) }
    }

    /// Who is told that the bus is away or blocked waits for it to be `Up`: the state says so first, or he would not wait.
    async fn until_the_state_says(&self, error: PublishError) {
        if matches!(error, PublishError::Away | PublishError::Blocked) {
            let mut status = self.watch();
            let _ = timeout(STATE_MAX, status.wait_for(|status| status.state != BusState::Up)).await;
        }
    }

    async fn publish_batch(&self, partition: u16, batch: &CommandBatch, ttl: Duration) -> Result<(), PublishError> {
        if partition >= self.topology.partitions {
            return Err(PublishError::Unroutable);
        }
        let live = self.publisher()?;
        let body = wire::encode_batch(batch);
        if body.len() > MESSAGE_MAX {
            tracing::error!(partition, bytes = body.len(), "a batch is larger than any consumer takes");
            return Err(PublishError::Full);
        }
        let lane = live.parts().commands[usize::from(partition)].clone();
        let properties = BasicProperties::default().with_delivery_mode(NOT_PERSISTENT).with_expiration(expiration(ttl));
        let sent = confirmed(&live, lane.send("".into(), self.topology.commands(partition), body, properties)).await;
        if sent == Err(PublishError::Unroutable) {
            let again = async |channel: &Channel| self.topology.declare_commands(channel, partition).await;
            self.repair(&live, again).await;
        }
        sent
    }

    async fn publish_all(&self, events: &[DurableEvent]) -> Result<(), PublishError> {
        if events.is_empty() || self.topology.roles.is_empty() {
            return Ok(());
        }
        let live = self.publisher()?;
        let lane = live.parts().events.as_ref().ok_or(PublishError::Away)?;
        let properties = BasicProperties::default().with_delivery_mode(PERSISTENT);
        let sending = events
            .iter()
            .map(|event| lane.send(self.topology.events(), "".into(), wire::encode_event(event), properties.clone()));
        let all = async { future::join_all(sending).await.into_iter().collect::<Result<(), _>>() };
        let sent = confirmed(&live, all).await;
        if sent == Err(PublishError::Unroutable) {
            let again = async |channel: &Channel| self.topology.declare_events(channel, &self.topology.roles).await;
            self.repair(&live, again).await;
        }
        sent
    }

    /// Declares again what was deleted, so that the next try finds it.
    async fn repair(&self, live: &Live<Publishing>, declare: impl AsyncFnOnce(&Channel) -> lapin::Result<()>) {
        match live.parts().ask(live.connection(), declare).await {
            Ok(()) => {
                tracing::warn!("queues in RabbitMQ were missing; they are declared again");
                // What was in them is lost.
                self.publishing.status().send_modify(|status| status.interruptions += 1);
            }
            Err(error) => tracing::warn!(%error, "queues in RabbitMQ are missing and cannot be declared"),
        }
    }

    async fn subscribe<C>(
        &self,
        subscribing: impl AsyncFnOnce(Arc<Live<()>>) -> lapin::Result<C>,
    ) -> Result<C, BusLost> {
        let connect = || Link::start("consume", self.consume_dial.clone(), &self.runtime, ());
        let link = self.consuming.get_or_init(connect);
        let all = async {
            let live = link.wait().await;
            subscribing(live).await.map_err(|error| BusLost(error.to_string()))
        };
        timeout(SUBSCRIBE_MAX, all).await.unwrap_or_else(|_| Err(BusLost("RabbitMQ does not answer".to_owned())))
    }

    fn is_partition(&self, number: u16) -> Result<(), BusLost> {
        match number < self.topology.partitions {
            true => Ok(()),
            false => Err(BusLost(format!("there is no partition {number}"))),
        }
    }
}

/// Waits for the broker's word. While the broker is known to have stopped reading, a new connection would fare no better.
async fn confirmed(
    live: &Live<Publishing>,
    sending: impl Future<Output = Result<(), PublishError>>,
) -> Result<(), PublishError> {
    match timeout(CONFIRM_MAX, sending).await {
        Ok(decided) => decided,
        Err(_) => {
            if !live.is_blocked() {
                live.cut("a message was not confirmed in time");
            }
            Err(PublishError::Broken)
        }
    }
}

/// In milliseconds, as text.
fn expiration(ttl: Duration) -> lapin::types::ShortString {
    ttl.as_millis().min(u128::from(u32::MAX)).to_string().into()
}

fn why(error: PublishError) -> &'static str {
    match error {
        PublishError::Full => "full",
        PublishError::Unroutable => "unroutable",
        PublishError::Blocked => "blocked",
        PublishError::Away => "away",
        PublishError::Broken => "broken",
    }
}

impl Bus for RabbitBus {
    fn partitions(&self) -> u16 {
        self.topology.partitions
    }

    fn publish(
        &self,
        partition: u16,
        batch: Arc<CommandBatch>,
        ttl: Duration,
    ) -> BoxFuture<'_, Result<(), PublishError>> {
        Box::pin(async move {
            let begun = clock::monotonic();
            let sent = self.publish_batch(partition, &batch, ttl).await;
            match sent {
                Ok(()) => self.publish_seconds.record(begun.elapsed()),
                Err(error) => {
                    counter!("rookery_bus_refused_total", "why" => why(error)).increment(1);
                    self.until_the_state_says(error).await;
                }
            }
            sent
        })
    }

    fn consume(&self, partition: u16) -> BoxFuture<'_, Result<Box<dyn CommandConsumer>, BusLost>> {
        Box::pin(async move {
            self.is_partition(partition)?;
            let commands =
                self.subscribe(async |live| Commands::subscribe(live, &self.topology, partition).await).await?;
            Ok(Box::new(commands) as Box<dyn CommandConsumer>)
        })
    }

    fn publish_events(&self, events: Vec<DurableEvent>) -> BoxFuture<'_, Result<(), PublishError>> {
        Box::pin(async move {
            let sent = self.publish_all(&events).await;
            if sent.is_err() {
                counter!("rookery_bus_events_refused_total").increment(1);
            }
            sent
        })
    }

    fn consume_events(&self, role: EventRole) -> BoxFuture<'_, Result<Box<dyn EventConsumer>, BusLost>> {
        Box::pin(async move {
            let events = self.subscribe(async |live| Events::subscribe(live, &self.topology, role).await).await?;
            Ok(Box::new(events) as Box<dyn EventConsumer>)
        })
    }

    fn queue(&self, partition: u16) -> BoxFuture<'_, Result<QueueState, BusLost>> {
        Box::pin(async move {
            self.is_partition(partition)?;
            let lost = |error: &dyn Display| BusLost(error.to_string());
            // It would not read the question either, where it has stopped reading.
            let live = self.publisher().map_err(|error| lost(&error))?;
            let look = async |channel: &Channel| self.topology.look(channel, partition).await;
            let queue = live.parts().ask(live.connection(), look).await.map_err(|error| lost(&error))?;
            Ok(QueueState { waiting: queue.message_count() as usize, consumers: queue.consumer_count() as usize })
        })
    }

    fn state(&self) -> BusState {
        let publishing = self.publishing.status().borrow().state;
        let consuming = self.consuming.get().map(|link| link.status().borrow().state);
        consuming.map_or(publishing, |consuming| publishing.max(consuming))
    }

    fn watch(&self) -> watch::Receiver<BusStatus> {
        self.publishing.status().subscribe()
    }
}
