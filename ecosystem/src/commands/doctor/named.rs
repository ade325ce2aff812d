//! The Redis and RabbitMQ that the settings name: whether they are there, new enough and let us in. No word of this has
//! an address in it, which may hold a password.

use super::{Finding, Level, amqp};
use anyhow::{Context, Result};
use shared::config::{ClusterConfig, Config, Secret};
use shared::routing::Routing;
use shared::routing::redis::RedisRouting;
use std::time::Duration;

/// For Redis, with the way there.
const PATIENCE: Duration = Duration::from_secs(3);

/// Nothing about what is not named.
pub fn look(config: &Config) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    if config.cluster.redis.is_some() {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start a runtime")?;
        findings.push(runtime.block_on(redis(&config.cluster)));
    }
    if let Some(url) = &config.cluster.amqp {
        findings.push(rabbitmq(url));
    }
    Ok(findings)
}

/// With the client that gateways and workers use, which looks at the version and the settings before it uses a server.
async fn redis(config: &ClusterConfig) -> Finding {
    let asked = match RedisRouting::with_patience(config, PATIENCE) {
        Ok(routing) => routing.gateways().await.map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    match asked {
        Ok(_) => Finding::new(Level::Ok, "redis", "REDIS_URL: answers, version 7.0 or newer, lets us in"),
        Err(why) => Finding::new(Level::Fail, "redis", format!("REDIS_URL: {why}")),
    }
}

fn rabbitmq(url: &Secret) -> Finding {
    match amqp::greet(url) {
        Ok(amqp::Greeting { version, is_in: true }) => {
            Finding::new(Level::Ok, "rabbitmq", format!("AMQP_URL: version {version}, lets us in"))
        }
        Ok(_) => Finding::new(
            Level::Warn,
            "rabbitmq",
            "AMQP_URL: the port is open; version and login are not looked at through TLS",
        ),
        Err(error) => Finding::new(Level::Fail, "rabbitmq", format!("AMQP_URL: {error:#}")),
    }
}
