//! What a process of a cluster has to be told beside everything else.

use super::setting;
use crate::config::{
    Secret,
    reader::{Reader, Setting},
};
use std::{net::IpAddr, time::Duration};

/// What gateways and workers of several processes need beside PostgreSQL; `rookery up` alone does without.
#[derive(Clone, Debug)]
pub struct ClusterConfig {
    pub redis: Option<Secret>,
    pub amqp: Option<Secret>,
    /// In front of every key in Redis and every queue in RabbitMQ.
    pub name: String,
    /// Silence after which a worker's connection to RabbitMQ is given up, twice over, and its partitions pass on.
    pub amqp_heartbeat: Duration,
    /// Where one process of a cluster says how it is: health and metrics.
    pub probe: std::net::SocketAddr,
}

pub(super) fn read(reader: &mut Reader<'_>) -> ClusterConfig {
    let redis = reader.parsed(
        Setting {
            name: "REDIS_URL",
            aliases: &["REDIS_URI"],
            default: "",
            meaning: "Redis 7 or newer: redis://user:password@host:6379/0, rediss:// for TLS; `rookery up --cluster` starts a private one without it",
            secret: true,
        },
        // The last one: through a socket in a directory, as the private one is.
        |text| address(text, &["redis", "rediss", "redis+unix"]),
    );
    let amqp = reader.parsed(
        Setting {
            name: "AMQP_URL",
            aliases: &["RABBITMQ_URL", "RABBITMQ_URI"],
            default: "",
            meaning: "RabbitMQ: amqp://user:password@host:5672/vhost, amqps:// for TLS; `rookery up --cluster` starts a private one without it",
            secret: true,
        },
        |text| address(text, &["amqp", "amqps"]),
    );
    let name = reader.parsed(
        setting(
            "CLUSTER_NAME",
            "rookery",
            "In front of every key and queue: one Redis and RabbitMQ may serve several clusters",
        ),
        |text| match text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
            && text.len() <= 64
        {
            true => Ok(text.to_owned()),
            false => Err("may contain A-Z a-z 0-9 - _ only, 64 at most".to_owned()),
        },
    );
    let amqp_heartbeat = reader.number(
        setting(
            "AMQP_HEARTBEAT_SECONDS",
            "1",
            "Heartbeat of workers to RabbitMQ: one that is stopped loses its partitions after two to three of these",
        ),
        1..=60,
    );
    let host = reader.parsed(
        setting("PROBE_HOST", "127.0.0.1", "Address for the health and metrics of one process of a cluster"),
        |text| text.parse::<IpAddr>().map_err(|_| "must be an IP address".to_owned()),
    );
    let port = reader.number(
        setting(
            "PROBE_PORT",
            "0",
            "Port for them, under `rookery up --cluster` the first of a row; 0 takes a free one, which log and status name",
        ),
        0..=65535,
    );
    ClusterConfig {
        redis,
        amqp,
        name: name.unwrap_or_default(),
        amqp_heartbeat: Duration::from_secs(amqp_heartbeat),
        probe: (host.unwrap_or(IpAddr::from([127, 0, 0, 1])), port as u16).into(),
    }
}

/// An address with one of these schemes and a host; its parts are the driver's to judge.
fn address(text: &str, schemes: &[&str]) -> Result<Secret, String> {
    let rest = text.split_once("://").filter(|(scheme, _)| schemes.contains(scheme)).map(|(_, rest)| rest);
    match rest {
        Some(rest) if !rest.is_empty() => Ok(Secret::new(text)),
        _ => Err(format!("must begin with {}://", schemes.join(":// or "))),
    }
}
