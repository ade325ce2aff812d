//! The three services, started once for everything that is tried: private ones, reached through sockets and a port of
//! their own. Each run has its own database and its own names in Redis and RabbitMQ.

use crate::proxy::{Proxy, Target};
use ecosystem::services::postgres::{self, PrivatePostgres};
use ecosystem::services::rabbitmq::{self, PrivateRabbit};
use ecosystem::services::redis::{self, PrivateRedis};
use ecosystem::services::{Hints, Machine};
use shared::config::{Secret, StoreConfig};
use shared::store::Store;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio_postgres::NoTls;

/// For an answer of Redis.
const ANSWER: Duration = Duration::from_secs(10);

pub struct Engines {
    pub postgres: PrivatePostgres,
    pub redis: PrivateRedis,
    pub rabbit: PrivateRabbit,
    /// Carries everything between them and the processes. By itself: what the clients do must not look like a network that
    /// is broken.
    network: Runtime,
}

impl Engines {
    /// Side by side, because RabbitMQ takes seconds.
    pub fn start(directory: &Path) -> Self {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let hints = Hints { pg_bin_dir: None, path: std::env::split_paths(&path).collect() };
        let machine = &Machine { hints, temporary: std::env::temp_dir() };
        let home = |name: &str| directory.join(name);
        thread::scope(|scope| {
            let rabbit =
                scope.spawn(|| PrivateRabbit::start(&home("rabbitmq"), machine, &rabbitmq::Options::for_tests()));
            let redis = scope.spawn(|| PrivateRedis::start(&home("redis"), machine, &redis::Options::for_tests()));
            let postgres =
                scope.spawn(|| PrivatePostgres::start(&home("postgres"), machine, &postgres::Options::for_tests()));
            Self {
                postgres: postgres.join().unwrap().unwrap(),
                redis: redis.join().unwrap().unwrap(),
                rabbit: rabbit.join().unwrap().unwrap(),
                network: Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap(),
            }
        })
    }

    /// A new database, by the URL that goes straight to it.
    pub fn create_database(&self, runtime: &Handle, name: &str) -> String {
        runtime.block_on(async {
            let (client, connection) = tokio_postgres::connect(&self.postgres.url(), NoTls).await.unwrap();
            tokio::spawn(connection);
            client.batch_execute(&format!("CREATE DATABASE {name}")).await.unwrap();
        });
        self.database(name)
    }

    pub fn database(&self, name: &str) -> String {
        self.postgres.url().replace("/postgres?", &format!("/{name}?"))
    }

    pub fn store(&self, name: &str) -> Store {
        Store::new(&StoreConfig { url: Secret::new(self.database(name)), schema: None, pool: 2 }).unwrap()
    }

    /// Straight to Redis: the words of one command, and the beginning of its answer as it comes.
    pub fn ask_redis(&self, words: &[&str]) -> String {
        let mut stream = UnixStream::connect(self.redis_socket()).unwrap();
        stream.set_read_timeout(Some(ANSWER)).unwrap();
        let mut command = format!("*{}\r\n", words.len());
        words.iter().for_each(|word| command.push_str(&format!("${}\r\n{word}\r\n", word.len())));
        stream.write_all(command.as_bytes()).unwrap();
        let mut answer = vec![0; 16 * 1024];
        let length = stream.read(&mut answer).unwrap();
        let answer = String::from_utf8_lossy(&answer[..length]).into_owned();
        assert!(!answer.starts_with('-'), "{words:?}: {answer}");
        answer
    }

    fn redis_socket(&self) -> PathBuf {
        decoded(self.redis.url().strip_prefix("redis+unix://").unwrap())
    }

    /// Where the AMQP port is: `host:port`.
    fn rabbit_address(&self) -> String {
        let url = self.rabbit.url();
        url.split_once('@').unwrap().1.split('/').next().unwrap().to_owned()
    }

    /// One process's own way to PostgreSQL, and the setting for it.
    pub fn way_to_postgres(&self, database: &str) -> (Proxy, String) {
        let url = self.postgres.url();
        let (user, directory) = url.strip_prefix("postgres://").unwrap().split_once('@').unwrap();
        let socket = decoded(directory.split('/').next().unwrap()).join(".s.PGSQL.5432");
        let way = Proxy::start(self.network.handle(), Target::Unix(socket));
        let url = format!("postgres://{user}@{}/{database}?sslmode=disable", way.address);
        (way, url)
    }

    pub fn way_to_redis(&self) -> (Proxy, String) {
        let way = Proxy::start(self.network.handle(), Target::Unix(self.redis_socket()));
        let url = format!("redis://{}", way.address);
        (way, url)
    }

    pub fn way_to_rabbit(&self) -> (Proxy, String) {
        let address = self.rabbit_address();
        let way = Proxy::start(self.network.handle(), Target::Tcp(address.clone()));
        let url = self.rabbit.url().replace(&address, &way.address.to_string());
        (way, url)
    }
}

/// Percent-encoding taken back.
fn decoded(text: &str) -> PathBuf {
    let mut parts = text.split('%');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        bytes.push(u8::from_str_radix(&part[..2], 16).unwrap());
        bytes.extend_from_slice(&part.as_bytes()[2..]);
    }
    String::from_utf8(bytes).unwrap().into()
}
