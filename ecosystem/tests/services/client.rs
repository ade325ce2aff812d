//! Clients of the private servers, as far as the tests ask them something: the crates that the program itself uses.

use lapin::options::{BasicGetOptions, BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use tokio::runtime::Runtime;

/// A connection to a Redis.
pub struct Memory(redis::Connection);

impl Memory {
    pub fn at(url: &str) -> Self {
        Self(redis::Client::open(url).unwrap().get_connection().unwrap())
    }

    pub fn answers(url: &str) -> bool {
        redis::Client::open(url).unwrap().get_connection().is_ok()
    }

    pub fn set(&mut self, key: &str) {
        redis::cmd("SET").arg(key).arg(1).exec(&mut self.0).unwrap();
    }

    pub fn has(&mut self, key: &str) -> bool {
        redis::cmd("EXISTS").arg(key).query(&mut self.0).unwrap()
    }

    pub fn policy(&mut self) -> String {
        let (_, policy): (String, String) =
            redis::cmd("CONFIG").arg("GET").arg("maxmemory-policy").query(&mut self.0).unwrap();
        policy
    }
}

/// A connection to a RabbitMQ.
pub struct Broker {
    runtime: Runtime,
    channel: Channel,
    _connection: Connection,
}

impl Broker {
    pub fn at(url: &str) -> Self {
        let runtime = runtime();
        let (connection, channel) = runtime.block_on(async {
            let connection = Connection::connect(url, ConnectionProperties::default()).await.unwrap();
            let channel = connection.create_channel().await.unwrap();
            (connection, channel)
        });
        Self { runtime, channel, _connection: connection }
    }

    pub fn opens(url: &str) -> bool {
        runtime().block_on(Connection::connect(url, ConnectionProperties::default())).is_ok()
    }

    /// Into a quorum queue, confirmed: what must not get lost.
    pub fn put(&self, queue: &str, text: &str) {
        let mut arguments = FieldTable::default();
        arguments.insert("x-queue-type".into(), lapin::types::AMQPValue::LongString("quorum".into()));
        let persistent = BasicProperties::default().with_delivery_mode(2);
        self.runtime.block_on(async {
            let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
            self.channel.queue_declare(queue.into(), durable, arguments).await.unwrap();
            self.channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
            let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
            let sent = self.channel.basic_publish("".into(), queue.into(), options, text.as_bytes(), persistent).await;
            assert!(sent.unwrap().await.unwrap().is_ack());
        });
    }

    pub fn get(&self, queue: &str) -> Option<String> {
        let options = BasicGetOptions { no_ack: true };
        let got = self.runtime.block_on(self.channel.basic_get(queue.into(), options)).unwrap();
        got.map(|message| String::from_utf8(message.delivery.data).unwrap())
    }
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}
