//! What is in the broker: one queue for each partition of the commands; for durable events a queue for each role that
//! handles them, behind one exchange, and one for the dead. Declaring is idempotent, and done again at each connection.
//!
//! Each queue names its type, which a virtual host's default would choose otherwise, and its bounds. Nothing here is
//! refused by RabbitMQ 3.10 or 4: no transient queue, no mirroring, no lazy mode.
//!
//! A queue that is there with other arguments is not used: the broker says which, the log repeats it, and it has to be
//! deleted by somebody who knows that nothing is in it.

use crate::bus::{
    EventRole,
    local::{QUEUE_BATCHES_MAX, QUEUE_BYTES_MAX},
};
use lapin::{
    Channel, ExchangeKind, Queue, Result,
    options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions},
    types::{AMQPValue, FieldTable, ShortString},
};

/// What may wait for one role. Beyond it publications are refused, and their outbox rows wait for the relay.
const EVENTS_MAX: usize = 1_000_000;
const EVENTS_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Tries at an event before it goes to the dead.
const DELIVERIES_MAX: u32 = 20;

#[derive(Clone)]
pub(super) struct Topology {
    cluster: String,
    pub partitions: u16,
    pub roles: Vec<EventRole>,
}

impl Topology {
    pub fn new(cluster: &str, partitions: u16, roles: &[EventRole]) -> Self {
        Self { cluster: cluster.to_owned(), partitions, roles: roles.to_vec() }
    }

    pub fn commands(&self, partition: u16) -> ShortString {
        format!("{}.commands.{partition:02}", self.cluster).into()
    }

    /// The exchange that copies an event to each role.
    pub fn events(&self) -> ShortString {
        format!("{}.events", self.cluster).into()
    }

    pub fn role(&self, role: EventRole) -> ShortString {
        format!("{}.events.{}", self.cluster, role.name()).into()
    }

    fn dead_exchange(&self) -> ShortString {
        format!("{}.dead", self.cluster).into()
    }

    fn dead(&self) -> ShortString {
        format!("{}.events.dead", self.cluster).into()
    }

    /// All that a publisher needs.
    pub async fn declare(&self, channel: &Channel) -> Result<()> {
        for partition in 0..self.partitions {
            self.declare_commands(channel, partition).await?;
        }
        self.declare_events(channel, &self.roles).await
    }

    pub async fn declare_commands(&self, channel: &Channel, partition: u16) -> Result<()> {
        let mut arguments = bounds("classic", QUEUE_BATCHES_MAX, QUEUE_BYTES_MAX);
        arguments.insert("x-single-active-consumer".into(), true.into());
        declare_queue(channel, self.commands(partition), arguments).await
    }

    pub async fn declare_events(&self, channel: &Channel, roles: &[EventRole]) -> Result<()> {
        if roles.is_empty() {
            return Ok(());
        }
        for exchange in [self.events(), self.dead_exchange()] {
            let options = ExchangeDeclareOptions { durable: true, ..Default::default() };
            channel.exchange_declare(exchange, ExchangeKind::Fanout, options, FieldTable::default()).await?;
        }
        declare_queue(channel, self.dead(), bounds("quorum", EVENTS_MAX, EVENTS_BYTES_MAX)).await?;
        bind(channel, self.dead(), self.dead_exchange()).await?;
        for role in roles {
            let mut arguments = bounds("quorum", EVENTS_MAX, EVENTS_BYTES_MAX);
            arguments.insert("x-delivery-limit".into(), number(DELIVERIES_MAX as usize));
            arguments.insert("x-dead-letter-exchange".into(), text(self.dead_exchange().as_str()));
            declare_queue(channel, self.role(*role), arguments).await?;
            bind(channel, self.role(*role), self.events()).await?;
        }
        Ok(())
    }

    /// How a partition's queue is; an error, which closes the channel, where it is not there.
    pub async fn look(&self, channel: &Channel, partition: u16) -> Result<Queue> {
        let options = QueueDeclareOptions { passive: true, ..Default::default() };
        channel.queue_declare(self.commands(partition), options, FieldTable::default()).await
    }
}

fn number(value: usize) -> AMQPValue {
    AMQPValue::LongLongInt(value as i64)
}

fn text(value: &str) -> AMQPValue {
    AMQPValue::LongString(value.into())
}

/// At its bounds a queue refuses what comes; by default it would confirm it and drop the oldest.
fn bounds(kind: &str, messages: usize, bytes: usize) -> FieldTable {
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), text(kind));
    arguments.insert("x-overflow".into(), text("reject-publish"));
    arguments.insert("x-max-length".into(), number(messages));
    arguments.insert("x-max-length-bytes".into(), number(bytes));
    arguments
}

async fn declare_queue(channel: &Channel, name: ShortString, arguments: FieldTable) -> Result<()> {
    let options = QueueDeclareOptions { durable: true, ..Default::default() };
    channel.queue_declare(name, options, arguments).await.map(|_| ())
}

async fn bind(channel: &Channel, queue: ShortString, exchange: ShortString) -> Result<()> {
    channel.queue_bind(queue, exchange, "".into(), QueueBindOptions::default(), FieldTable::default()).await
}
