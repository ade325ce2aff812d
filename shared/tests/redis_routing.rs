//! Holds routing in Redis to the contract, and to what only it promises. On the Redis of the tests each has a cluster's
//! name of its own; what kills, stops or fills a Redis starts a private one.
#![allow(clippy::unwrap_used)] // All of this file is a test; clippy knows only the functions marked as one.

#[path = "contract/routing.rs"]
mod contract;
#[path = "redis_routing/damage.rs"]
mod damage;
#[path = "redis_routing/lives.rs"]
mod lives;
#[path = "redis_routing/losses.rs"]
mod losses;
#[path = "redis_routing/outages.rs"]
mod outages;
#[path = "redis_routing/proxy.rs"]
mod proxy;
#[path = "redis_routing/server.rs"]
mod server;
#[path = "redis_routing/telling.rs"]
mod telling;

use contract::{routing_contract, within};
use redis::aio::MultiplexedConnection;
use shared::{
    command::GatewayRef,
    config::{ClusterConfig, Config, Environment, test_redis_url},
    routing::{Inbox, Routing, redis::RedisRouting},
};
use std::{sync::Arc, time::Duration};
use uuid::Uuid;

/// A cluster of one's own. Its keys are deleted when it is dropped.
struct Cluster {
    url: String,
    name: String,
}

impl Cluster {
    fn on(url: &str) -> Self {
        Self { url: url.to_owned(), name: format!("test-{}", Uuid::now_v7()) }
    }

    fn config(&self) -> ClusterConfig {
        let env = Environment::of([
            ("JWT_SECRET", "a secret that only tests use, of more than 32 bytes"),
            ("DATABASE_URL", "postgres://nowhere/none"),
            ("REDIS_URL", &self.url),
            ("CLUSTER_NAME", &self.name),
        ]);
        Config::read(&env).expect("the tests' configuration is valid").cluster
    }

    /// What another process would hold, but that it waits longer: the machine may do other things at the same time.
    fn process(&self) -> Arc<dyn Routing> {
        Arc::new(RedisRouting::with_patience(&self.config(), Duration::from_secs(15)).expect("an address"))
    }

    /// What another process would hold.
    fn impatient_process(&self) -> Arc<dyn Routing> {
        Arc::new(RedisRouting::new(&self.config()).expect("an address"))
    }

    async fn start() -> Self {
        Self::on(&test_redis_url().expect("ROOKERY_TEST_REDIS_URL is not set: run the tests by `./rookery test`"))
    }

    async fn wipe(&self) {
        wipe(&self.url, &self.name).await.expect("Redis is there");
    }

    /// Behind everybody's back.
    async fn redis(&self) -> MultiplexedConnection {
        connect(&self.url).await.expect("Redis is there")
    }

    fn key(&self, rest: &str) -> String {
        format!("{}:{rest}", self.name)
    }

    fn inbox_of(&self, me: GatewayRef) -> String {
        self.key(&format!("inbox:{}:{}", me.id, me.epoch))
    }

    fn lease_of(&self, me: GatewayRef) -> String {
        self.key(&format!("gw:{}", me.id))
    }

    /// As time does.
    async fn expire(&self, key: &str) {
        let deleted: u32 =
            redis::cmd("DEL").arg(key).query_async(&mut self.redis().await).await.expect("Redis is there");
        assert_eq!(deleted, 1, "{key} was there");
    }

    /// What there is, without the cluster's name; ids of people are not text.
    async fn keys(&self) -> Vec<String> {
        let keys = all_keys(&mut self.redis().await, &self.name).await.expect("Redis is there");
        keys.iter().map(|key| String::from_utf8_lossy(&key[self.name.len() + 1..]).into_owned()).collect()
    }
}

/// A connection that waits as long as a test may: the machine may do other things at the same time.
async fn connect(url: &str) -> redis::RedisResult<MultiplexedConnection> {
    let patience = Some(Duration::from_secs(20));
    let config = redis::AsyncConnectionConfig::new().set_connection_timeout(patience).set_response_timeout(patience);
    redis::Client::open(url)?.get_multiplexed_async_connection_with_config(&config).await
}

async fn all_keys(redis: &mut MultiplexedConnection, name: &str) -> redis::RedisResult<Vec<Vec<u8>>> {
    let (mut cursor, mut all) = (0u64, vec![]);
    loop {
        let mut scan = redis::cmd("SCAN");
        scan.arg(cursor).arg("MATCH").arg(format!("{name}:*")).arg("COUNT").arg(1000);
        let (next, keys): (u64, Vec<Vec<u8>>) = scan.query_async(redis).await?;
        all.extend(keys);
        cursor = next;
        if cursor == 0 {
            return Ok(all);
        }
    }
}

/// Renews every lease there is, as the gateways would.
async fn renew_all(mut redis: MultiplexedConnection, name: String) -> redis::RedisResult<()> {
    loop {
        let ids: Vec<Vec<u8>> = redis::cmd("HKEYS").arg(format!("{name}:gateways")).query_async(&mut redis).await?;
        for id in ids {
            let lease = format!("{name}:gw:{}", Uuid::from_slice(&id).expect("an id"));
            redis::cmd("PEXPIRE").arg(lease).arg(10_000).exec_async(&mut redis).await?;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

async fn wipe(url: &str, name: &str) -> redis::RedisResult<()> {
    let mut redis = connect(url).await?;
    let keys = all_keys(&mut redis, name).await?;
    for keys in keys.chunks(1000) {
        redis::cmd("DEL").arg(keys).exec_async(&mut redis).await?;
    }
    Ok(())
}

/// A cluster whose gateways all live until they leave.
struct Living(Cluster);

impl contract::Registry for Living {
    async fn start() -> Self {
        let cluster = Cluster::start().await;
        tokio::spawn(renew_all(cluster.redis().await, cluster.name.clone()));
        Self(cluster)
    }

    async fn connect(&self) -> Arc<dyn Routing> {
        self.0.process()
    }

    async fn wipe(&self) {
        self.0.wipe().await;
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let (url, name) = (self.url.clone(), self.name.clone());
        // Dropping is synchronous and may happen on a runtime's thread: a thread of its own has a runtime of its own.
        let wiped = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
            runtime.block_on(wipe(&url, &name)).ok()
        });
        // A Redis of the test's own may have gone before.
        let _ = wiped.join();
    }
}

routing_contract!(Living);

async fn why_lost(inbox: &mut Box<dyn Inbox>) -> String {
    within(async {
        loop {
            if let Err(lost) = inbox.recv().await {
                return lost.0;
            }
        }
    })
    .await
}

/// Asks until it is so.
async fn until<T>(mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    within(async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
}
