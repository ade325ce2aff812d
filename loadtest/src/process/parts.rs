//! The parts of one `rookery up`, by its process tree: gateways, workers, the services it started, and itself.
//!
//! A process belongs to the part that its own name and command line say, else to its parent's; whatever is named by none is the
//! launcher's. Services that were there before (`DATABASE_URL`, `REDIS_URL`, `AMQP_URL`) are in nobody's tree: they are watched
//! by their own pids.

use super::{Stat, duration, family};
use anyhow::Result;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::time::Duration;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    Gateways,
    Workers,
    Postgres,
    Redis,
    RabbitMq,
    /// The launcher; with `up`, where gateway and worker are one process with it, all of Rookery.
    Rookery,
}

impl Part {
    pub fn name(self) -> &'static str {
        match self {
            Self::Gateways => "gateways",
            Self::Workers => "workers",
            Self::Postgres => "postgres",
            Self::Redis => "redis",
            Self::RabbitMq => "rabbitmq",
            Self::Rookery => "rookery",
        }
    }

    /// By the program's name, and for our own by the first word of its command line; none if they do not say.
    fn of(program: &str, word: &str) -> Option<Self> {
        match (program, word) {
            (ours, "gateway") if ours.starts_with("rookery") => Some(Self::Gateways),
            (ours, "worker") if ours.starts_with("rookery") => Some(Self::Workers),
            ("postgres", _) => Some(Self::Postgres),
            ("redis-server" | "valkey-server", _) => Some(Self::Redis),
            // Erlang's machine: nothing else in this tree runs on it.
            ("beam.smp", _) => Some(Self::RabbitMq),
            _ => None,
        }
    }
}

/// One look at all parts.
#[derive(Clone, Debug, Default)]
pub struct Parts {
    /// Processor time so far, that of ended children included.
    pub cpu: BTreeMap<Part, Duration>,
    /// The processes that were told by their names, by part.
    pub pids: BTreeMap<Part, BTreeSet<u32>>,
}

impl Parts {
    /// Of the tree whose root is the `rookery up` with this pid.
    pub fn look(launcher: u32) -> Result<Self> {
        // Who has ended meanwhile has no command line, and is its parent's.
        let command_line = |pid| fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        Ok(Self::sort(&family(launcher)?, &command_line))
    }

    /// Parents stand before their children in `tree`.
    fn sort(tree: &[Stat], command_line: &dyn Fn(u32) -> Vec<u8>) -> Self {
        let mut parts = Self::default();
        let mut belongs: HashMap<u32, Part> = HashMap::new();
        for (n, process) in tree.iter().enumerate() {
            let line = command_line(process.pid);
            let line = String::from_utf8_lossy(&line);
            let word = line.split('\0').nth(1).unwrap_or_default();
            let named = if n == 0 { Some(Part::Rookery) } else { Part::of(&process.name, word) };
            let inherited = belongs.get(&process.parent).copied().unwrap_or(Part::Rookery);
            let part = named.unwrap_or(inherited);
            belongs.insert(process.pid, part);
            *parts.cpu.entry(part).or_default() += duration(process.own + process.waited_for);
            if named.is_some() {
                parts.pids.entry(part).or_default().insert(process.pid);
            }
        }
        parts
    }

    pub fn gateways(&self) -> Vec<u32> {
        self.pids.get(&Part::Gateways).into_iter().flatten().copied().collect()
    }

    /// Whether the same gateways and workers were there.
    pub fn same_processes(&self, other: &Self) -> bool {
        [Part::Gateways, Part::Workers, Part::Rookery].iter().all(|part| self.pids.get(part) == other.pids.get(part))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_is_sorted_into_parts() {
        let lines = [
            (1, 0, "rookery", "/x/rookery\0up\0--cluster"),
            (2, 1, "rookery", "/x/rookery\0gateway\0--launcher\x001"),
            (3, 1, "rookery", "/x/rookery\0gateway"),
            (4, 1, "rookery", "/x/rookery\0worker"),
            (5, 1, "postgres", "/usr/lib/postgresql/15/bin/postgres\0-D\0/d"),
            (6, 5, "postgres", "postgres: checkpointer "),
            (7, 1, "redis-server", "/usr/bin/redis-server unixsocket:/d\0"),
            (8, 1, "beam.smp", "/usr/lib/erlang/beam.smp\0-W\0w"),
            (9, 8, "erl_child_setup", "erl_child_setup\x001024"),
            (10, 1, "sh", "sh\0-c\0something"),
        ];
        let stat = |(pid, parent, name, _): &(u32, u32, &str, &str)| Stat {
            pid: *pid,
            name: (*name).to_owned(),
            parent: *parent,
            own: 100,
            waited_for: 0,
        };
        let tree: Vec<Stat> = lines.iter().map(stat).collect();
        let line = |pid: u32| lines.iter().find(|line| line.0 == pid).unwrap().3.as_bytes().to_vec();
        let parts = Parts::sort(&tree, &line);
        let counted: Vec<(&str, u64)> = parts.cpu.iter().map(|(part, used)| (part.name(), used.as_secs())).collect();
        let wanted = [("gateways", 2), ("workers", 1), ("postgres", 2), ("redis", 1), ("rabbitmq", 2), ("rookery", 2)];
        assert_eq!(counted, wanted);
        assert_eq!(parts.gateways(), [2, 3]);
    }

    #[test]
    fn this_process_is_a_launcher_without_children() {
        let parts = Parts::look(std::process::id()).unwrap();
        assert!(parts.cpu.contains_key(&Part::Rookery) && parts.gateways().is_empty());
        assert!(parts.same_processes(&Parts::look(std::process::id()).unwrap()));
    }
}
