//! The machine's part of `rookery doctor`: limits, ports, programs, disk, the privacy of the secrets.

use super::{Finding, Level};
use crate::config::{Surroundings, is_given};
use crate::data_dir::DataDir;
use crate::database;
use crate::services::{self, NotInstalled, postgres};
use anyhow::Result;
use rustix::process::{Resource, getrlimit};
use shared::config::Config;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Files that are open beside sockets: the log, the database's connections, epoll.
const OTHER_FILES: u64 = 256;
const LITTLE_SPACE: u64 = 2 << 30;
const NO_SPACE: u64 = 256 << 20;

pub fn look(config: &Config, data: &DataDir, surroundings: &Surroundings) -> Result<Vec<Finding>> {
    let mut findings = vec![open_files(config), port(config, data)?, space(data.path())];
    if !database::is_given(&surroundings.settings) {
        findings.push(server_program(surroundings));
        findings.extend(secrets(data.path()));
    }
    findings.extend(cluster_programs(surroundings));
    Ok(findings)
}

fn open_files(config: &Config) -> Finding {
    let limit = getrlimit(Resource::Nofile);
    let needed = config.edge.connections as u64 + OTHER_FILES;
    // The gateway raises the soft limit to the hard one by itself.
    let allowed = limit.maximum.unwrap_or(u64::MAX);
    let words = format!("{allowed} allowed, CONNECTIONS_MAX={} wants {needed}", config.edge.connections);
    Finding::when(allowed >= needed, Level::Warn, "open files", words)
}

fn port(config: &Config, data: &DataDir) -> Result<Finding> {
    let address = SocketAddr::from((config.http.host, config.http.port));
    if let Some(owner) = data.owner()? {
        let words = format!("up: pid {}, {}", owner.pid, owner.address.as_deref().unwrap_or("starting"));
        return Ok(Finding::new(Level::Ok, "port", words));
    }
    Ok(match TcpListener::bind(address) {
        Ok(_) => Finding::new(Level::Ok, "port", format!("{address} is free")),
        Err(error) => Finding::new(Level::Fail, "port", format!("{address}: {error}")),
    })
}

fn server_program(surroundings: &Surroundings) -> Finding {
    match postgres::newest(&surroundings.machine.hints) {
        Some(found) => {
            Finding::new(Level::Ok, "postgres", format!("version {} in {}", found.major, found.directory.display()))
        }
        None => Finding::new(Level::Fail, "postgres", NotInstalled(vec![&postgres::KIND]).to_string()),
    }
}

/// Wanted by `up --cluster` and `test` only, so a machine without them is not ill.
fn cluster_programs(surroundings: &Surroundings) -> Vec<Finding> {
    let hints = &surroundings.machine.hints;
    let redis = services::redis::found(hints).map(|found| (found.version, found.path));
    let rabbitmq = services::rabbitmq::found(hints).map(|found| (found.version, found.path));
    let engines = [("redis", &services::redis::KIND, redis), ("rabbitmq", &services::rabbitmq::KIND, rabbitmq)];
    let wanted = engines.into_iter().filter(|(_, kind, _)| !is_given(&surroundings.settings, kind.elsewhere));
    let finding = |(subject, kind, found): (_, _, Option<(String, PathBuf)>)| match found {
        Some((version, path)) => Finding::new(Level::Ok, subject, format!("version {version}: {}", path.display())),
        None => {
            Finding::new(Level::Warn, subject, format!("{}; for `up --cluster` and `test`", NotInstalled(vec![kind])))
        }
    };
    wanted.map(finding).collect()
}

fn space(data: &Path) -> Finding {
    // The nearest directory that is there: the data directory itself may not have been made yet.
    let there = data.ancestors().find(|directory| directory.is_dir()).unwrap_or(Path::new("/"));
    match rustix::fs::statvfs(there) {
        Ok(fs) => {
            let free = fs.f_bavail * fs.f_frsize;
            let level = match free {
                ..NO_SPACE => Level::Fail,
                NO_SPACE..LITTLE_SPACE => Level::Warn,
                _ => Level::Ok,
            };
            Finding::new(level, "disk", format!("{} MiB free for {}", free >> 20, data.display()))
        }
        Err(error) => Finding::new(Level::Warn, "disk", format!("{}: {error}", there.display())),
    }
}

fn secrets(data: &Path) -> Option<Finding> {
    let mode = data.join("secrets").metadata().ok()?.permissions().mode() & 0o777;
    Some(Finding::when(
        mode & 0o077 == 0,
        Level::Fail,
        "secrets",
        format!("mode {mode:o}: only their owner may read them"),
    ))
}
