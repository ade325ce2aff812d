//! What is watched of the server while a step goes on: processor time of its parts, and what its gateways count themselves.
//!
//! Read at both ends of the measured part. The server is told nothing and asked for its `/metrics` only, where an address is
//! given.

mod metrics;

use self::metrics::Counts;
use crate::process::parts::Parts;
use crate::process::{Machine, Watched};
use anyhow::Result;
use clap::Args;
use shared::clock;
use std::time::{Duration, Instant};

#[derive(Args, Clone, Debug, Default)]
#[group(skip)]
pub struct Options {
    /// Processes whose time is counted: PID, NAME=PID, or NAME=PID+ with all its descendants; they should not overlap, for
    /// their sum is given as well
    #[arg(long, value_name = "NAME=PID,…", value_delimiter = ',')]
    pub cpu_of: Vec<Watched>,
    /// The `rookery up` whose parts are told apart by its process tree: gateways, workers and the services it has started.
    /// Services that it was given by their URLs are not in it: name them with --cpu-of
    #[arg(long, value_name = "PID")]
    pub parts_of: Option<u32>,
    /// Addresses whose `/metrics` tell how many frames a gateway has written, and with how many calls: each gateway's own
    #[arg(long, value_name = "URL,…", value_delimiter = ',')]
    pub metrics: Vec<String>,
}

/// Both ends of one measured part.
pub struct Meter {
    options: Options,
    start: Option<Look>,
}

struct Look {
    at: Instant,
    used: Vec<(String, Duration)>,
    parts: Parts,
    machine: Machine,
    counts: Option<Counts>,
}

/// What was used between two looks.
pub struct Spent {
    pub length: Duration,
    /// By name; the generator itself is the last.
    pub cpu: Vec<(String, Duration)>,
    pub machine: Machine,
    pub frames_per_write: Option<f64>,
    /// Gateways and workers were the same at both ends; if not, the time of those that ended is missing.
    pub same_processes: bool,
}

impl Meter {
    pub fn new(options: &Options) -> Self {
        Self { options: options.clone(), start: None }
    }

    pub fn has_begun(&self) -> bool {
        self.start.is_some()
    }

    pub fn begin(&mut self) -> Result<()> {
        self.start = Some(self.look()?);
        Ok(())
    }

    /// Ends the measured part; if none was begun, it is empty.
    pub fn end(mut self) -> Result<Spent> {
        let end = self.look()?;
        Ok(match self.start.take() {
            Some(start) => end.since(&start),
            None => end.since(&end),
        })
    }

    fn look(&self) -> Result<Look> {
        let parts = self.options.parts_of.map_or(Ok(Parts::default()), Parts::look)?;
        let mut used: Vec<(String, Duration)> =
            parts.cpu.iter().map(|(part, used)| (part.name().to_owned(), *used)).collect();
        for watched in self.options.cpu_of.iter().chain([&Watched::itself("loadtest")]) {
            used.push((watched.name.clone(), watched.cpu()?));
        }
        let counts = match self.options.metrics.is_empty() {
            true => None,
            false => Some(Counts::read(&self.options.metrics)?),
        };
        Ok(Look { at: clock::monotonic(), used, parts, machine: Machine::read()?, counts })
    }
}

impl Look {
    fn since(&self, before: &Self) -> Spent {
        // What was not there before has used all of its time since.
        let earlier =
            |name: &str| before.used.iter().find(|(other, _)| other == name).map_or(Duration::ZERO, |it| it.1);
        let cpu = self.used.iter().map(|(name, used)| (name.clone(), used.saturating_sub(earlier(name))));
        let counts = self.counts.as_ref().zip(before.counts.as_ref());
        Spent {
            length: self.at.saturating_duration_since(before.at),
            cpu: cpu.collect(),
            machine: self.machine.since(&before.machine),
            frames_per_write: counts.and_then(|(after, before)| after.frames_per_write_since(before)),
            same_processes: self.parts.same_processes(&before.parts),
        }
    }
}
