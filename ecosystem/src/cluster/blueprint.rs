//! How a process of the cluster is made: this very program, the launcher's environment and what the launcher has brought
//! itself, the shared port, a name, and a directory for its log.

use super::Role;
use anyhow::{Context, Result};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::Stdio;
use tokio::process::{Child, Command};

pub struct Blueprint {
    /// Started anew for each process: after an update a restart or reload runs the new one.
    pub program: PathBuf,
    /// Bound once and given to every gateway, so that the port takes connections whoever comes and goes.
    pub listener: TcpListener,
    /// Over our own environment: where the services are.
    pub environment: Vec<(String, String)>,
    /// Of the machine, for each gateway and for each worker.
    pub cores: (usize, usize),
    /// For gateways only.
    pub secrets: Vec<(String, String)>,
    /// Each process has a directory of its name in it.
    pub logs: PathBuf,
    /// The probes' first port; 0: any free one for each.
    pub probe_port: u16,
}

impl Blueprint {
    /// Must be called from the main thread: the process is killed when the thread that made it ends (`tether`).
    pub fn spawn(&self, role: Role, name: &str, slot: u16) -> Result<Child> {
        let mut command = Command::new(&self.program);
        command.arg(role.name()).args(["--launcher", &std::process::id().to_string()]);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        let probe_port = if self.probe_port == 0 { 0 } else { self.probe_port.saturating_add(slot) };
        command.env("PROCESS_NAME", name).env("PROBE_PORT", probe_port.to_string());
        let cores = if role == Role::Gateway { self.cores.0 } else { self.cores.1 };
        command.env("CORES", cores.to_string());
        command.env("LOG_DIR", self.logs.join(name)).env("LOG_FORMAT", "json");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        if role == Role::Gateway {
            let port = self.listener.try_clone().context("cannot share the port")?;
            command.args(["--listener", "stdin"]).stdin(Stdio::from(OwnedFd::from(port)));
            command.envs(self.secrets.iter().map(|(name, value)| (name, value)));
        }
        // A terminal's Ctrl-C goes to the whole foreground group: it must reach the launcher, who knows the order.
        command.process_group(0);
        command.spawn().with_context(|| format!("cannot start {}", self.program.display()))
    }
}
