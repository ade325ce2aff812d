//! What no gateway and no worker of ours writes, put where they read: bytes that are no message, and messages with commands
//! that PostgreSQL refuses. What stands beside them in the same batch has to be stored, and everything goes on.

use crate::cluster::Cluster;
use crate::history::Message;
use crate::people::Crowd;
use crate::stage::eventually;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::{BasicProperties, Connection, ConnectionProperties};
use shared::bus::{Bus, rabbit::RabbitBus};
use shared::command::{Command, CommandBatch, Envelope, GatewayRef, SendMessage, partition};
use shared::config::{ClusterConfig, Secret};
use shared::domain::{CommandId, ConversationId, GatewayId, MessageKind, SessionId, UserId};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio_postgres::NoTls;
use uuid::Uuid;

const PARTITIONS: u16 = 8;
/// A number that this person's own client does not reach.
const SESSION: u32 = 2_000_000;
const WRITER: usize = 0;

pub fn pour(cluster: &Cluster, crowd: &Arc<Crowd>, runtime: &Handle) {
    let gateways = gateways(cluster);
    assert_eq!(gateways.len(), cluster.gateways.len());
    for (id, epoch) in &gateways {
        let inbox = format!("{}:inbox:{id}:{epoch}", cluster.name);
        for words in [["e", "no entry of ours"], ["e", ""], ["nonsense", "1"]] {
            cluster.engines.ask_redis(&["XADD", &inbox, "NOMKSTREAM", "1-*", words[0], words[1]]);
        }
    }
    runtime.block_on(into_the_queues(cluster));
    let (good, refused) = runtime.block_on(among_good_ones(cluster, crowd, &gateways[0]));
    let stored = |ids: &[Uuid]| runtime.block_on(count(&cluster.engines.database(&cluster.name), ids));
    eventually("what stands beside poison to be stored", || stored(&good) == good.len());
    assert_eq!(stored(&refused), 0);
}

/// All whose lease holds: ids and epochs.
fn gateways(cluster: &Cluster) -> Vec<(String, String)> {
    let lease = format!("{}:gw:", cluster.name);
    let leases = words(&cluster.engines.ask_redis(&["KEYS", &format!("{lease}*")]));
    let epoch = |key: &String| words(&cluster.engines.ask_redis(&["GET", key])).swap_remove(0);
    leases.iter().map(|key| (key.strip_prefix(&lease).unwrap().to_owned(), epoch(key))).collect()
}

/// Of an answer like `*1 $4 word` the words without the lengths.
fn words(answer: &str) -> Vec<String> {
    let words = answer.split("\r\n").filter(|word| !word.is_empty() && !word.starts_with(['*', '$']));
    words.map(str::to_owned).collect()
}

async fn into_the_queues(cluster: &Cluster<'_>) {
    let connection = Connection::connect(&cluster.engines.rabbit.url(), ConnectionProperties::default()).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
    for partition in 0..PARTITIONS {
        let queue = format!("{}.commands.{partition:02}", cluster.name);
        for garbage in [&b""[..], b"\0\xff no message of ours", b"{}", &[b'['; 4096]] {
            let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
            let properties = BasicProperties::default();
            let sent = channel.basic_publish("".into(), queue.as_str().into(), options, garbage, properties).await;
            let confirmed = sent.unwrap().await.unwrap();
            assert!(confirmed.is_ack(), "{confirmed:?}");
        }
    }
    connection.close(200, "done".into()).await.unwrap();
}

/// One batch: good, refused, good, refused, good; in a gateway's name, under tickets that it has never given out. Returns
/// the ids of the good and of the others.
async fn among_good_ones(cluster: &Cluster<'_>, crowd: &Crowd, gateway: &(String, String)) -> (Vec<Uuid>, Vec<Uuid>) {
    let conversation = crowd.conversations[0].id;
    let (mut good, mut refused, mut commands) = (vec![], vec![], vec![]);
    for number in 0..5 {
        let (body, extra) = match number {
            1 => ("a NUL \0 in a text", None),
            3 => ("what is beside this is no JSON", Some("{")),
            _ => ("beside poison", None),
        };
        let message = Message { conversation, id: Uuid::now_v7(), body: body.to_owned() };
        commands.push(envelope(number, crowd, &message, extra));
        match number {
            1 | 3 => refused.push(message.id),
            _ => {
                good.push(message.id);
                crowd.recorder.sending(WRITER, SESSION, message);
            }
        }
    }
    let from = GatewayRef { id: GatewayId(gateway.0.parse().unwrap()), epoch: gateway.1.parse().unwrap() };
    let config = ClusterConfig {
        redis: None,
        amqp: Some(Secret::new(cluster.engines.rabbit.url())),
        name: cluster.name.clone(),
        amqp_heartbeat: Duration::from_secs(5),
        probe: SocketAddr::from(([127, 0, 0, 1], 0)),
    };
    let bus = RabbitBus::new(&config, PARTITIONS, &[]).unwrap();
    bus.connected().await;
    let partition = partition(ConversationId(conversation), PARTITIONS);
    bus.publish(partition, Arc::new(CommandBatch { from, commands }), Duration::from_secs(15)).await.unwrap();
    (good, refused)
}

fn envelope(number: u64, crowd: &Crowd, message: &Message, extra: Option<&str>) -> Envelope {
    Envelope {
        ticket: u64::MAX - number,
        id: CommandId(message.id),
        actor: UserId(crowd.people[WRITER].id.parse().unwrap()),
        session: SessionId(Uuid::now_v7()),
        request_id: "poison".into(),
        command: Command::Send(SendMessage {
            conversation_id: ConversationId(message.conversation),
            kind: MessageKind::Text,
            body: message.body.as_str().into(),
            extra: extra.map(Into::into),
            reply_to: None,
        }),
    }
}

async fn count(url: &str, ids: &[Uuid]) -> usize {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    let row = client.query_one("SELECT count(*) FROM messages WHERE id = ANY($1)", &[&ids]).await.unwrap();
    usize::try_from(row.get::<_, i64>(0)).unwrap()
}
