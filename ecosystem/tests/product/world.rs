//! A small Rookery of one's own: a database that nobody else uses, a bus and a routing, gateways and a worker that can be
//! killed and started again on them, and people with their clients.

#[path = "world/edge.rs"]
mod edge;
#[path = "world/http.rs"]
mod http;
#[path = "world/publisher.rs"]
pub mod publisher;
#[path = "world/socket.rs"]
mod socket;
#[path = "world/view.rs"]
mod view;

pub use edge::{Edge, Labour, Middle};
pub use http::{Answer, request};
pub use socket::{Handshake, Refused, Socket};
pub use view::{View, surely};

use gateway::{auth::Tokens, ended::Ended};
use serde_json::{Value, json};
use shared::{
    bus::local::{Faults, LocalBus},
    config::LogConfig,
    domain::{SessionId, UserId},
    routing::local::LocalRouting,
    testing::TestDatabase,
};
use std::{sync::Arc, time::Duration};
use tokio_postgres::{Client, NoTls, types::ToSql};
use uuid::Uuid;

/// Longer than anything here takes; a story that waits so long has failed.
pub const PATIENCE: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Somebody with an account and one login.
#[derive(Clone, Debug)]
pub struct Person {
    pub id: String,
    pub token: String,
    pub session: SessionId,
}

impl Person {
    pub fn user(&self) -> UserId {
        UserId(self.id.parse().expect("an id"))
    }
}

pub struct World {
    pub gateways: Vec<Edge>,
    pub worker: Option<Labour>,
    pub bus: Arc<LocalBus>,
    pub routing: LocalRouting,
    pub middle: Middle,
    pub sql: Client,
    tokens: Tokens,
    // Last: it is dropped when nobody uses it any more.
    pub database: TestDatabase,
}

impl World {
    /// Two gateways and a worker.
    pub async fn start() -> Self {
        Self::with(2, &[], Faults::default()).await
    }

    /// One gateway with settings of its own.
    pub async fn set(settings: &[(&str, &str)]) -> Self {
        Self::with(1, settings, Faults::default()).await
    }

    pub async fn with(gateways: usize, settings: &[(&str, &str)], faults: Faults) -> Self {
        let defaults = [
            ("DATABASE_POOL", "4"),
            ("LIMIT_COMMANDS_PER_USER", "1000000"),
            ("LIMIT_REQUESTS_PER_ADDRESS", "1000000"),
            ("LIMIT_REFRESH_PER_ADDRESS", "1000000"),
        ];
        let database = TestDatabase::create_with(&[&defaults[..], settings].concat()).await;
        let config = database.config.clone();
        count_from_now_on(&config.log);
        let (sql, connection) = tokio_postgres::connect(config.store.url.expose(), NoTls).await.expect("a connection");
        tokio::spawn(connection);
        let bus = Arc::new(LocalBus::with_faults(config.worker.partitions, &[], faults));
        let routing = LocalRouting::new();
        let tokens = Tokens::new(&config.auth, Arc::new(Ended::new(config.auth.access_life))).expect("a secret");
        let middle = Middle { config, bus: bus.clone(), routing: routing.clone() };
        let worker = Some(Labour::start(&middle).await);
        let mut world = Self { gateways: vec![], worker, bus, routing, middle, sql, tokens, database };
        for _ in 0..gateways {
            world.add_gateway().await;
        }
        world
    }

    pub async fn add_gateway(&mut self) {
        self.gateways.push(Edge::start(&self.middle).await);
    }

    pub async fn start_worker(&mut self) {
        self.worker = Some(Labour::start(&self.middle).await);
    }

    /// An account with a login, by hand: a password hash takes longer than most stories.
    pub async fn person(&self, name: &str) -> Person {
        let (user, session) = (UserId::new(), SessionId::new());
        let key = format!("{name}-{}", user.0.simple());
        let sql =
            "WITH u AS (INSERT INTO users (id, username, username_key, email, email_key, password_hash, display_name)
                       VALUES ($1, $2, $2, $2, $2, 'none', $3) RETURNING id)
                   INSERT INTO sessions (id, user_id) SELECT $4, id FROM u";
        // The foreign key is checked at the end of the statement.
        self.run(sql, &[&user.0, &key, &name, &session.0]).await;
        self.login_of(user, session)
    }

    /// The same person on another device.
    pub async fn another_login(&self, person: &Person) -> Person {
        let session = SessionId::new();
        self.run("INSERT INTO sessions (id, user_id) VALUES ($1, $2)", &[&session.0, &person.user().0]).await;
        self.login_of(person.user(), session)
    }

    fn login_of(&self, user: UserId, session: SessionId) -> Person {
        Person { id: user.to_string(), token: self.tokens.issue(user, session).token, session }
    }

    pub async fn people<const N: usize>(&self, names: [&str; N]) -> [Person; N] {
        let people = futures_util::future::join_all(names.map(|name| self.person(name))).await;
        people.try_into().expect("one for each name")
    }

    /// Their direct conversation.
    pub async fn direct(&self, a: &Person, b: &Person) -> String {
        let asked = json!({ "kind": "direct", "member_ids": [b.id] });
        self.create(a, asked).await
    }

    /// A group with `owner` as its owner.
    pub async fn group(&self, owner: &Person, members: &[&Person]) -> String {
        let members: Vec<&str> = members.iter().map(|person| person.id.as_str()).collect();
        self.create(owner, json!({ "kind": "group", "title": "The group", "member_ids": members })).await
    }

    async fn create(&self, person: &Person, asked: Value) -> String {
        let answer = self.gateways[0].rest(person, "conversation.create", asked).await;
        assert!(matches!(answer.status, 200 | 201), "{answer:?}");
        answer.json()["id"].as_str().expect("an id").to_owned()
    }

    pub async fn run(&self, sql: &str, params: &[&(dyn ToSql + Sync)]) -> u64 {
        self.sql.execute(sql, params).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"))
    }

    pub async fn number(&self, sql: &str, params: &[&(dyn ToSql + Sync)]) -> i64 {
        self.sql.query_one(sql, params).await.unwrap_or_else(|error| panic!("{sql}: {error:?}")).get(0)
    }

    /// From now on nobody connects to this world's database, or may again. Connections that are there stay.
    pub async fn allow_connections(&self, allowed: bool) {
        let name: String = self.sql.query_one("SELECT current_database()", &[]).await.expect("a name").get(0);
        let mut elsewhere: tokio_postgres::Config = self.middle.config.store.url.expose().parse().expect("a URL");
        let (admin, connection) = elsewhere.dbname("postgres").connect(NoTls).await.expect("a connection");
        tokio::spawn(connection);
        let sql = format!("ALTER DATABASE {name} ALLOW_CONNECTIONS {allowed}");
        admin.batch_execute(&sql).await.expect("the right to do so");
    }

    /// The bodies stored in a conversation, in order; `seq` is checked to be 1, 2, 3 ….
    pub async fn stored(&self, conversation: &str) -> Vec<String> {
        let sql = "SELECT seq, body FROM messages WHERE conversation_id = $1 ORDER BY seq";
        let rows = self.sql.query(sql, &[&id(conversation)]).await.expect("the table");
        let seqs: Vec<i64> = rows.iter().map(|row| row.get(0)).collect();
        assert_eq!(seqs, (1..=rows.len() as i64).collect::<Vec<_>>(), "seq has no holes");
        rows.iter().map(|row| row.get(1)).collect()
    }
}

/// Metrics count from before the first one is registered. What is logged is of no interest here, but a test's panic is.
fn count_from_now_on(log: &LogConfig) {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let hook = std::panic::take_hook();
        shared::telemetry::start(&LogConfig { level: "off".into(), ..log.clone() }).expect("a valid level");
        std::panic::set_hook(hook);
    });
}

pub fn id(text: &str) -> Uuid {
    text.parse().expect("an id")
}

/// A new id, as clients choose them.
pub fn fresh() -> String {
    Uuid::now_v7().to_string()
}

/// Waits for an effect that nobody is told of.
pub async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let wait = async {
        while !is_so().await {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("never so: {what}"));
}
