//! The server under measurement: `rookery up` in a directory that goes with it.

use crate::cluster::{Role, processes};
use crate::config::Surroundings;
use crate::data_dir::DataDir;
use crate::services::{self, postgres, rabbitmq};
use crate::{database, say};
use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use shared::clock;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const START: Duration = Duration::from_secs(180);
const POLL: Duration = Duration::from_millis(20);

/// A load generator is one address and few accounts: what holds back a single client would hold back all of them.
const LIMITS: [&str; 6] = [
    "LIMIT_LOGIN_PER_ADDRESS",
    "LIMIT_LOGIN_PER_ACCOUNT",
    "LIMIT_REGISTER_PER_ADDRESS",
    "LIMIT_REFRESH_PER_ADDRESS",
    "LIMIT_COMMANDS_PER_USER",
    "LIMIT_REQUESTS_PER_ADDRESS",
];
const UNLIMITED: &str = "10000000";

#[derive(Clone, Copy, Debug)]
pub enum Shape {
    OneProcess,
    Cluster { gateways: u16, workers: u16 },
}

pub struct Server<'a> {
    child: Child,
    data: DataDir,
    address: String,
    surroundings: &'a Surroundings,
}

impl<'a> Server<'a> {
    /// With `counting` its private PostgreSQL counts statements, which takes two starts: the first makes it.
    pub fn start(shape: Shape, counting: bool, surroundings: &'a Surroundings) -> Result<Self> {
        // Beside the build, and not where temporary files are, which is often memory: a commit has to reach a disk.
        let data = DataDir::at(surroundings.target()?.join(format!("bench-{}", std::process::id())));
        say::progress("starting a server for the measurement");
        let mut server = Self { child: up(shape, &data, surroundings)?, data, address: String::new(), surroundings };
        server.address = server.wait_for_address()?;
        if counting && server.has_private_postgres() {
            server.end();
            count_statements(&server.data.postgres())?;
            server.child = up(shape, &server.data, surroundings)?;
            server.address = server.wait_for_address()?;
        }
        Ok(server)
    }

    fn wait_for_address(&mut self) -> Result<String> {
        let start = clock::monotonic();
        while start.elapsed() < START {
            if let Some(address) = self.data.owner()?.and_then(|owner| owner.address) {
                return Ok(address);
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("`rookery up` has ended ({status})");
            }
            std::thread::sleep(POLL);
        }
        bail!("`rookery up` does not start")
    }

    fn has_private_postgres(&self) -> bool {
        !database::is_given(&self.surroundings.settings)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn address(&self) -> &str {
        &self.address
    }

    pub fn directory(&self) -> &Path {
        self.data.path()
    }

    pub fn secrets(&self) -> std::path::PathBuf {
        self.data.path().join("secrets")
    }

    /// The configured one, or the private one, for what measures it beside the server.
    pub fn database_url(&self) -> Result<Option<String>> {
        match self.has_private_postgres() {
            true => postgres::url_of(&self.data.postgres(), &self.surroundings.machine).map(Some),
            false => Ok(self.surroundings.settings.get("DATABASE_URL").map(str::to_owned)),
        }
    }

    /// Where each gateway's own metrics are.
    pub fn metrics(&self) -> Result<Vec<String>> {
        let owner = self.data.owner()?.context("the server has ended")?;
        let Some(processes) = processes::of(&self.data, &owner)? else { return Ok(vec![self.address.clone()]) };
        let gateways = processes.processes.into_iter().filter(|entry| entry.role == Role::Gateway);
        Ok(gateways.filter_map(|gateway| gateway.probe).collect())
    }

    fn end(&mut self) {
        // An error means that it has ended already.
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        drop(self.child.wait());
    }
}

fn up(shape: Shape, data: &DataDir, surroundings: &Surroundings) -> Result<Child> {
    let mut up = Command::new(&surroundings.program);
    up.args(["up", "--port", "0", "--data-dir"]).arg(data.path()).stdin(Stdio::null()).stdout(Stdio::null());
    if let Shape::Cluster { gateways, workers } = shape {
        up.arg("--cluster").args(["--gateways", &gateways.to_string(), "--workers", &workers.to_string()]);
    }
    up.envs(LIMITS.map(|name| (name, UNLIMITED)));
    // A line for each account that is registered is of no use to who waits for figures.
    if surroundings.settings.get("LOG_LEVEL").is_none() {
        up.env("LOG_LEVEL", "warn");
    }
    up.spawn().context("cannot start `rookery up`")
}

/// Lets the stopped private PostgreSQL in `home` load its module for that at the next start.
fn count_statements(home: &Path) -> Result<()> {
    let path = home.join("data").join("postgresql.auto.conf");
    let file = File::options().append(true).open(&path);
    let written = file.and_then(|mut file| {
        writeln!(file, "shared_preload_libraries = 'pg_stat_statements'\npg_stat_statements.max = 5000")
    });
    written.with_context(|| format!("cannot write {}", path.display()))
}

impl Drop for Server<'_> {
    fn drop(&mut self) {
        self.end();
        if let Err(error) = remove(&self.data, self.surroundings) {
            say::failure(format!("{error:#}"));
        }
    }
}

fn remove(data: &DataDir, surroundings: &Surroundings) -> Result<()> {
    let machine = &surroundings.machine;
    if data.postgres().join("data").exists() {
        postgres::remove(&data.postgres(), machine)?;
    }
    if data.redis().exists() {
        services::redis::remove(&data.redis(), machine)?;
    }
    if data.rabbitmq().exists() {
        rabbitmq::remove(&data.rabbitmq(), machine)?;
    }
    let path: &Path = data.path();
    std::fs::remove_dir_all(path).with_context(|| format!("cannot remove {}", path.display()))
}
