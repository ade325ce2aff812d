//! Two gateways and two workers on a database of their own, each with its own way to each service.

use crate::engines::Engines;
use crate::process::{Process, Recipe, Ways};
use crate::stage::eventually;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use tokio::runtime::Handle;

pub const GATEWAYS: usize = 2;
pub const WORKERS: usize = 2;
pub const HEARTBEAT_SECONDS: u64 = 5;
/// Below the ports that the kernel gives to clients: none of them may take a gateway's while that is away.
const PORTS: std::ops::Range<u16> = 20_000..30_000;

pub struct Cluster<'a> {
    pub engines: &'a Engines,
    /// Of the database, of the keys and of the queues.
    pub name: String,
    pub directory: PathBuf,
    pub gateways: Vec<Process>,
    pub workers: Vec<Process>,
}

impl<'a> Cluster<'a> {
    /// Until all of it serves. `program` is the one to run; `failpoint` is for all workers.
    pub fn start(engines: &'a Engines, runtime: &Handle, program: &Path, name: &str, failpoint: Option<&str>) -> Self {
        let directory = program.with_file_name(name);
        std::fs::create_dir(&directory).unwrap();
        let url = engines.create_database(runtime, name);
        let migrated = Command::new(program).arg("migrate").env("DATABASE_URL", &url).current_dir(&directory).output();
        let migrated = migrated.unwrap();
        assert!(migrated.status.success(), "{}", String::from_utf8_lossy(&migrated.stderr));
        let mut cluster = Self { engines, name: name.to_owned(), directory, gateways: vec![], workers: vec![] };
        for number in 0..WORKERS {
            let (recipe, ways) = cluster.recipe(program, "worker", number);
            cluster.workers.push(Process::start(recipe, ways, failpoint));
        }
        for (number, port) in free_ports(GATEWAYS).into_iter().enumerate() {
            let (mut recipe, ways) = cluster.recipe(program, "gateway", number);
            recipe.set("PORT", port.to_string());
            cluster.gateways.push(Process::start(recipe, ways, None));
        }
        eventually("the gateways to be ready", || cluster.gateways.iter().all(Process::is_ready));
        cluster
    }

    fn recipe(&self, program: &Path, role: &'static str, number: usize) -> (Recipe, Ways) {
        let (postgres, database_url) = self.engines.way_to_postgres(&self.name);
        let (redis, redis_url) = self.engines.way_to_redis();
        let (rabbit, amqp_url) = self.engines.way_to_rabbit();
        let unlimited = || "1000000".to_owned();
        let settings = vec![
            ("DATABASE_URL", database_url),
            ("REDIS_URL", redis_url),
            ("AMQP_URL", amqp_url),
            ("CLUSTER_NAME", self.name.clone()),
            ("JWT_SECRET", "known to nobody but the test and its servers".to_owned()),
            ("HEARTBEAT_SECONDS", HEARTBEAT_SECONDS.to_string()),
            ("PRESENCE_GRACE_SECONDS", "1".to_owned()),
            ("LIMIT_REGISTER_PER_ADDRESS", unlimited()),
            ("LIMIT_REQUESTS_PER_ADDRESS", unlimited()),
            ("LIMIT_COMMANDS_PER_USER", unlimited()),
        ];
        let name = format!("{role}-{number}");
        let recipe = Recipe { program: program.to_owned(), role, name, directory: self.directory.clone(), settings };
        (recipe, Ways { postgres, redis, rabbit })
    }

    pub fn addresses(&self) -> Vec<String> {
        self.gateways.iter().map(Process::address).collect()
    }

    pub fn assert_alive(&mut self) {
        self.gateways.iter_mut().chain(&mut self.workers).for_each(Process::assert_alive);
    }

    pub fn logs(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(&self.directory).unwrap();
        entries
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|it| it == "log"))
            .collect()
    }
}

/// What would be removed with the run: where its logs are kept for people who look at a failure.
pub fn keep(name: &str, logs: &[PathBuf]) -> PathBuf {
    let run = format!("cluster-faults-{name}-{}", std::process::id());
    let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join(run);
    std::fs::create_dir_all(&kept).unwrap();
    for log in logs {
        std::fs::copy(log, kept.join(log.file_name().unwrap())).unwrap();
    }
    kept
}

impl Drop for Cluster<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("the logs are in {}", keep(&self.name, &self.logs()).display());
        }
    }
}

/// Free when they were looked at. Others who look at the same time begin elsewhere.
pub fn free_ports(count: usize) -> Vec<u16> {
    let start = std::process::id() as usize % PORTS.len();
    let ports = PORTS.cycle().skip(start).take(PORTS.len());
    let taken: Vec<TcpListener> =
        ports.filter_map(|port| TcpListener::bind(("127.0.0.1", port)).ok()).take(count).collect();
    assert_eq!(taken.len(), count, "free ports");
    taken.iter().map(|listener| listener.local_addr().unwrap().port()).collect()
}
