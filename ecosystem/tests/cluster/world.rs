//! A directory to start a cluster in, a database of its own, names of its own in the Redis and the RabbitMQ of the tests,
//! and what can be seen of the processes from outside.

use crate::stage::{DEADLINE, Stage, Up, eventually};
use ecosystem::cluster::processes::{self, Entry, Processes, State};
use ecosystem::data_dir::DataDir;
use ecosystem::http;
use lapin::options::QueueDeleteOptions;
use lapin::{Connection, ConnectionProperties};
use serde_json::{Value, json};
use shared::testing::TestDatabase;
use std::path::Path;
use tokio::runtime::Runtime;

pub const SECRET: &str = "a secret that only tests use, of more than 32 bytes";
const PARTITIONS: u16 = 8;

pub struct World {
    pub stage: Stage,
    pub redis: String,
    pub amqp: String,
    database: TestDatabase,
    name: String,
    runtime: Runtime,
}

impl World {
    pub fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let there = |url: Option<String>| url.expect("no Redis or RabbitMQ to test with: run `./rookery test`");
        Self {
            stage: Stage::new(),
            redis: there(shared::config::test_redis_url()),
            amqp: there(shared::config::test_amqp_url()),
            database: runtime.block_on(TestDatabase::create()),
            name: format!("test-{}", uuid::Uuid::now_v7().simple()),
            runtime,
        }
    }

    /// What a gateway or worker has to be told.
    pub fn settings(&self) -> Vec<(&'static str, String)> {
        vec![
            ("DATABASE_URL", self.database.config.store.url.expose().to_owned()),
            ("REDIS_URL", self.redis.clone()),
            ("AMQP_URL", self.amqp.clone()),
            ("CLUSTER_NAME", self.name.clone()),
            ("JWT_SECRET", SECRET.to_owned()),
        ]
    }

    /// Two of each.
    pub fn up(&self) -> Cluster<'_> {
        let up = self.stage.up_by("data", &["--cluster"], &self.settings());
        Cluster { stage: &self.stage, up }
    }

    /// Nothing of this world stays in the services, which are others' too.
    async fn clear(&self) {
        let connection = Connection::connect(&self.amqp, ConnectionProperties::default()).await.unwrap();
        let channel = connection.create_channel().await.unwrap();
        for partition in 0..PARTITIONS {
            let queue = format!("{}.commands.{partition:02}", self.name);
            channel.queue_delete(queue.into(), QueueDeleteOptions::default()).await.unwrap();
        }
        let mut redis = redis::Client::open(self.redis.as_str()).unwrap().get_connection().unwrap();
        // An id in a key is its bytes.
        let keys: Vec<Vec<u8>> = redis::cmd("KEYS").arg(format!("*{}*", self.name)).query(&mut redis).unwrap();
        if !keys.is_empty() {
            redis::cmd("UNLINK").arg(keys).exec(&mut redis).unwrap();
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // Whoever is still on his way out would make his queues anew.
        let directory = self.stage.path("");
        if !std::thread::panicking() {
            eventually("all processes to be gone", || living_in(&directory).is_empty());
        }
        self.runtime.block_on(async { tokio::time::timeout(DEADLINE, self.clear()).await.unwrap() });
    }
}

/// A running `rookery up --cluster`.
pub struct Cluster<'a> {
    pub stage: &'a Stage,
    pub up: Up,
}

impl Cluster<'_> {
    pub fn processes(&self) -> Processes {
        let data = DataDir::at(self.stage.path("data"));
        let owner = data.owner().unwrap().expect("somebody is up");
        processes::of(&data, &owner).unwrap().expect("he has processes")
    }

    pub fn entry(&self, name: &str) -> Entry {
        let entry = self.processes().processes.into_iter().find(|entry| entry.name == name);
        entry.unwrap_or_else(|| panic!("there is no {name}"))
    }

    pub fn pid(&self, name: &str) -> i32 {
        self.entry(name).pid.unwrap_or_else(|| panic!("{name} is dead")).try_into().unwrap()
    }

    pub fn pids(&self) -> Vec<u32> {
        self.processes().processes.iter().filter_map(|entry| entry.pid).collect()
    }

    /// Until this one has another pid, and is ready.
    pub fn wait_for_another(&self, name: &str, before: i32) {
        eventually("another process", || {
            let entry = self.entry(name);
            entry.state == State::Ready && entry.pid.is_some_and(|pid| i64::from(pid) != i64::from(before))
        });
    }

    /// What a subcommand prints, and whether it was content.
    pub fn ask(&self, arguments: &[&str]) -> (bool, String) {
        ask(self.stage, arguments)
    }

    pub fn api(&self) -> Api {
        Api(self.up.address.clone())
    }
}

/// What a subcommand prints about `data`, and whether it was content.
pub fn ask(stage: &Stage, arguments: &[&str]) -> (bool, String) {
    let output = stage.run(&[arguments, &["--data-dir", "data"]].concat());
    let words = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(words).unwrap())
}

/// The server's interface, by its address.
pub struct Api(pub String);

impl Api {
    /// On a connection of its own.
    pub fn rest(&self, method: &str, path: &str, token: Option<&str>, body: Option<&Value>) -> Value {
        let answer = http::request(&self.0, method, path, token, body).unwrap();
        assert!(answer.is_ok(), "{method} {path}: {} {}", answer.status, answer.body);
        answer.json().unwrap()
    }

    /// Id and token of a new person.
    pub fn register(&self, name: &str) -> (String, String) {
        let body =
            json!({ "username": name, "email": format!("{name}@example.org"), "password": "correct horse staple" });
        let answer = self.rest("POST", "/v1/auth/register", None, Some(&body));
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        (text(&answer["user"]["id"]), text(&answer["access_token"]))
    }

    /// The id of a group of these two.
    pub fn group(&self, token: &str, other: &str) -> String {
        let body = json!({ "kind": "group", "title": "here", "member_ids": [other] });
        self.rest("POST", "/v1/conversations", Some(token), Some(&body))["id"].as_str().unwrap().to_owned()
    }
}

/// A process that still does anything: a zombie without threads waits only for somebody to take note of its end.
pub fn lives(pid: u32) -> bool {
    let threads = || std::fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count);
    state(pid).is_some_and(|state| !matches!(state.as_str(), "Z" | "X") || threads() > 1)
}

pub fn state(pid: u32) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    Some(stat.rsplit_once(')')?.1.split_whitespace().next()?.to_owned())
}

/// Everybody who works in this directory, or was told something about it.
pub fn living_in(directory: &Path) -> Vec<String> {
    let directory = directory.to_str().unwrap().trim_end_matches('/');
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        let command = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command).replace('\0', " ");
        let at = std::fs::read_link(entry.path().join("cwd")).unwrap_or_default();
        if (command.contains(directory) || at.starts_with(directory)) && lives(pid) {
            found.push(format!("{pid}: {command}"));
        }
    }
    found
}
