//! The parts of one `rookery up`, by its process tree: gateways, workers, the services it started, and itself.
//!
//! A process belongs to the part that its own command line names, else to its parent's; whatever is named by none is the
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

    /// By the words of a command line; none if they do not say.
    fn of(words: &[&str]) -> Option<Self> {
        let program = words.first()?.rsplit('/').next()?;
        match (program, words.get(1).copied()) {
            ("rookery", Some("gateway")) => Some(Self::Gateways),
            ("rookery", Some("worker")) => Some(Self::Workers),
            // Its processes say in one word who they are: `postgres: checkpointer`.
            _ if program.starts_with("postgres") => Some(Self::Postgres),
            _ if program.starts_with("redis-server") || program.starts_with("valkey-server") => Some(Self::Redis),
            _ if words.iter().any(|word| word.contains("rabbitmq")) => Some(Self::RabbitMq),
            _ => None,
        }
    }
}

/// One look at all parts.
#[derive(Clone, Debug, Default)]
pub struct Parts {
    /// Processor time so far, that of ended children included.
    pub cpu: BTreeMap<Part, Duration>,
    /// The processes that their command line names, by part.
    pub pids: BTreeMap<Part, BTreeSet<u32>>,
}

impl Parts {
    /// Of the tree whose root is the `rookery up` with this pid.
    pub fn look(launcher: u32) -> Result<Self> {
        Ok(Self::sort(&family(launcher)?, &|pid| fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default()))
    }

    /// Parents stand before their children in `tree`.
    fn sort(tree: &[Stat], command_line: &dyn Fn(u32) -> Vec<u8>) -> Self {
        let mut parts = Self::default();
        let mut belongs: HashMap<u32, Part> = HashMap::new();
        for (n, process) in tree.iter().enumerate() {
            let line = command_line(process.pid);
            let line = String::from_utf8_lossy(&line);
            let words: Vec<&str> = line.split('\0').collect();
            let named = if n == 0 { Some(Part::Rookery) } else { Part::of(&words) };
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
            (1, 0, "/x/rookery\0up\0--cluster"),
            (2, 1, "/x/rookery\0gateway\0--launcher\x001"),
            (3, 1, "/x/rookery\0gateway"),
            (4, 1, "/x/rookery\0worker"),
            (5, 1, "/usr/lib/postgresql/15/bin/postgres\0-D\0/d"),
            (6, 5, "postgres: checkpointer "),
            (7, 1, "redis-server 127.0.0.1:0\0"),
            (8, 1, "/bin/sh\0/usr/lib/rabbitmq/bin/rabbitmq-server"),
            (9, 8, "/usr/lib/erlang/beam.smp\0-W\0w"),
            (10, 9, "erl_child_setup\x001024"),
            (11, 1, "sh\0-c\0something"),
        ];
        let tree: Vec<Stat> =
            lines.iter().map(|(pid, parent, _)| Stat { pid: *pid, parent: *parent, own: 100, waited_for: 0 }).collect();
        let line = |pid: u32| lines.iter().find(|line| line.0 == pid).unwrap().2.as_bytes().to_vec();
        let parts = Parts::sort(&tree, &line);
        let counted: Vec<(&str, u64)> = parts.cpu.iter().map(|(part, used)| (part.name(), used.as_secs())).collect();
        let wanted = [("gateways", 2), ("workers", 1), ("postgres", 2), ("redis", 1), ("rabbitmq", 3), ("rookery", 2)];
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
