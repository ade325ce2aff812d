//! Where and when a run was made: a figure without these is no figure.

use serde::Serialize;
use shared::clock;
use std::fs;
use std::process::Command;

#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    pub command_line: Vec<String>,
    pub date: String,
    pub kernel: String,
    pub cores: usize,
    pub processor: String,
    /// Of TCP: some (bbr) pace what they send, loopback too.
    pub congestion_control: String,
    /// The commit of the working directory's repository, `-dirty` where files differ from it; empty outside of one.
    pub commit: String,
    pub version: &'static str,
    /// Whether this program was built with optimisation; without it the figures mean nothing.
    pub optimised: bool,
}

impl Machine {
    pub fn here() -> Self {
        Self {
            command_line: std::env::args().collect(),
            date: clock::text(clock::now()),
            kernel: setting("kernel/osrelease"),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            processor: processor(),
            congestion_control: setting("net/ipv4/tcp_congestion_control"),
            commit: commit(),
            version: env!("CARGO_PKG_VERSION"),
            optimised: !cfg!(debug_assertions),
        }
    }
}

fn setting(name: &str) -> String {
    fs::read_to_string(format!("/proc/sys/{name}")).unwrap_or_default().trim().to_owned()
}

fn processor() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    line.map(|(_, name)| name.trim().to_owned()).unwrap_or_default()
}

fn commit() -> String {
    let described =
        Command::new("git").args(["describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]).output();
    let described = described.ok().filter(|output| output.status.success());
    described.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
}
