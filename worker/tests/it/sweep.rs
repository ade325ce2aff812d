//! A gateway dies with many people on it, on a real Redis: whoever watches them is told, and of those who are somewhere
//! else as well nothing else than that they are here.

use crate::{
    slow,
    world::{PATIENCE, World, at_the_end},
};
use redis::{AsyncConnectionConfig, aio::MultiplexedConnection};
use shared::{
    command::GatewayRef,
    config::{ClusterConfig, Config, Environment, Secret, test_redis_url},
    domain::{GatewayId, UserId},
    event::{EventName, InboxItem},
    fanout::Fanout,
    routing::{Inbox, Routing, redis::RedisRouting},
};
use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
    time::Duration,
};
use uuid::Uuid;

/// More than are announced at once.
const PEOPLE: usize = 2500;

struct Cluster {
    config: ClusterConfig,
    url: String,
}

impl Cluster {
    fn new() -> Self {
        let url = test_redis_url().expect("ROOKERY_TEST_REDIS_URL is not set: run the tests by `./rookery test`");
        let env = Environment::of([
            ("JWT_SECRET", "a secret that only tests use, of more than 32 bytes"),
            ("DATABASE_URL", "postgres://nowhere/none"),
            ("REDIS_URL", &url),
            ("CLUSTER_NAME", &format!("test-{}", Uuid::now_v7())),
        ]);
        Self { config: Config::read(&env).unwrap().cluster, url }
    }

    fn process(&self) -> Arc<dyn Routing> {
        Arc::new(RedisRouting::new(&self.config).unwrap())
    }

    /// One that reaches the same Redis over another address.
    fn process_at(&self, url: &str) -> Arc<dyn Routing> {
        let redis = Some(Secret::new(url.to_owned()));
        Arc::new(RedisRouting::new(&ClusterConfig { redis, ..self.config.clone() }).unwrap())
    }

    /// As time does it to who was killed.
    async fn end_lease(&self, gateway: GatewayRef) {
        let mut redis = redis(&self.url).await;
        let key = format!("{}:gw:{}", self.config.name, gateway.id);
        let ended: u32 = redis::cmd("DEL").arg(key).query_async(&mut redis).await.unwrap();
        assert_eq!(ended, 1);
    }
}

async fn redis(url: &str) -> MultiplexedConnection {
    // As long as it takes: the machine may be busy.
    let config = AsyncConnectionConfig::new().set_response_timeout(None).set_connection_timeout(None);
    redis::Client::open(url).unwrap().get_multiplexed_async_connection_with_config(&config).await.unwrap()
}

/// Nobody else may trip over its keys.
impl Drop for Cluster {
    fn drop(&mut self) {
        let (url, of_it) = (self.url.clone(), format!("{}:*", self.config.name));
        at_the_end(async move {
            let mut redis = redis(&url).await;
            let keys: Vec<Vec<u8>> = redis::cmd("KEYS").arg(of_it).query_async(&mut redis).await.unwrap();
            for some in keys.chunks(1000) {
                redis::cmd("DEL").arg(some).exec_async(&mut redis).await.unwrap();
            }
        });
    }
}

/// What this gateway was told of each last, and every word of it.
struct Heard {
    inbox: Box<dyn Inbox>,
    online: BTreeMap<UserId, bool>,
    words: Vec<(UserId, bool)>,
}

impl Heard {
    async fn until(&mut self, what: &str, is_so: impl Fn(&BTreeMap<UserId, bool>) -> bool) {
        while !is_so(&self.online) {
            let entry = tokio::time::timeout(PATIENCE, self.inbox.recv()).await;
            for item in entry.unwrap_or_else(|_| panic!("never heard: {what}")).unwrap().items {
                let InboxItem::Events { events, to } = item else { continue };
                assert_eq!((events[0].name, events.len(), to.len()), (EventName::Presence, 1, 1));
                let data: serde_json::Value = serde_json::from_slice(&events[0].data).unwrap();
                assert_eq!(data["user_id"], to[0].to_string());
                let online = data["online"].as_bool().unwrap();
                self.online.insert(to[0], online);
                self.words.push((to[0], online));
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whom_a_dead_gateway_held_is_announced_as_he_is() {
    let world = World::start(1).await;
    let cluster = Cluster::new();
    let (gateway, other) = (cluster.process(), cluster.process());
    let (dies, _lost) = gateway.join(GatewayId::new()).await.unwrap();
    let (watches, inbox) = other.join(GatewayId::new()).await.unwrap();
    let people: Vec<UserId> = (0..PEOPLE).map(|_| UserId::new()).collect();
    gateway.add_routes(dies, people.clone()).await.unwrap();
    for some in people.chunks(1000) {
        assert!(other.watch(watches, some.to_vec()).await.unwrap().iter().all(|online| *online));
    }
    // Some have another device on the gateway that lives.
    let (here, gone) = people.split_at(1000);
    other.add_routes(watches, here.to_vec()).await.unwrap();
    let renewing = tokio::spawn({
        let other = other.clone();
        async move {
            while other.renew(watches).await.is_ok() {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    });

    let _workers = (world.worker_with(cluster.process()).await, world.worker_with(cluster.process()).await);
    cluster.end_lease(dies).await;
    let mut heard = Heard { inbox, online: BTreeMap::new(), words: vec![] };
    heard.until("everybody", |online| online.len() == PEOPLE).await;
    let (here, gone): (HashSet<&UserId>, HashSet<&UserId>) = (here.iter().collect(), gone.iter().collect());
    let is_true = |(user, online): &(UserId, bool)| if *online { here.contains(user) } else { gone.contains(user) };
    assert!(heard.words.iter().all(is_true), "not a word that was not so");

    renewing.abort();
}

/// One gateway is slow: between its look and its word the other has seen the same person come and go many times.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_who_announce_at_once_the_last_is_right() {
    let world = World::start(1).await;
    let cluster = Cluster::new();
    let slow_line = slow::line_to(&cluster.url).await;
    let fanout = |routing| Fanout::new(world.database.store.clone(), routing);
    let (slow, fast) = (fanout(cluster.process_at(&slow_line)), fanout(cluster.process()));
    let (home, _home) = fast.routing().join(GatewayId::new()).await.unwrap();
    let watching = cluster.process();
    let (watches, inbox) = watching.join(GatewayId::new()).await.unwrap();
    let mut heard = Heard { inbox, online: BTreeMap::new(), words: vec![] };
    for round in 0..15 {
        assert!(fast.routing().renew(home).await.unwrap() && watching.renew(watches).await.unwrap());
        let (user, end) = (UserId::new(), UserId::new());
        watching.watch(watches, vec![user, end]).await.unwrap();
        let come_and_go = async {
            for n in 0..(10 + round) {
                let changed = match n % 2 {
                    0 => fast.routing().add_routes(home, vec![user]).await,
                    _ => fast.routing().remove_routes(home, vec![user]).await,
                };
                fast.announce(&changed.unwrap()).await.unwrap();
            }
        };
        let about = [user];
        let (said, ()) = tokio::join!(slow.announce(&about), come_and_go);
        said.unwrap();
        // Whatever was said before this has come before it.
        fast.announce(&[end]).await.unwrap();
        heard.until("the end", |online| online.contains_key(&end)).await;
        assert_eq!(watching.online(&[user]).await.unwrap(), [heard.online[&user]], "round {round}");
    }
}
