//! `loadtest idle`: many authenticated sockets that do nothing, and what they cost the server's processes.
//!
//! Memory is what the given processes grew by, divided by the sockets (`cost` says how); processor time is what they used
//! while the sockets were held, less what they used just before, when there were none.

mod cost;

use crate::process::{self, Sample, Watched};
use crate::report::Table;
use crate::report::progress::Progress;
use crate::setup::World;
use crate::setup::token::{Mint, secret_in};
use crate::socket::swarm::{Swarm, Tally};
use crate::{Verdict, setup, socket};
use anyhow::{Context, Result, bail};
use clap::Args;
use cost::{Cost, Samples};
use serde::Serialize;
use shared::clock;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Memory that moves less than this in a second stands still.
const STILL_BYTES: u64 = 256 * 1024;

#[derive(Args, Clone, Debug)]
#[group(skip)]
pub struct Options {
    #[command(flatten)]
    pub setup: setup::Options,
    #[command(flatten)]
    pub socket: socket::Options,
    /// Sockets to hold
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=crate::SOCKETS_LIMIT as i64))]
    pub sockets: u32,
    /// Users to register or take from the state file; sockets are shared out among them
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=crate::SOCKETS_LIMIT as i64))]
    pub users: u32,
    /// Instead of that: a user of its own for each socket, by tokens made here with the server's JWT_SECRET, which is read
    /// from this file (`secrets` in the data directory, a `.env`, or the bare secret). One user is registered as the pattern. The server checks tokens at hello without asking its
    /// database, so these users need not exist; they can hold sockets and nothing else
    #[arg(long, value_name = "FILE")]
    pub secret_file: Option<PathBuf>,
    /// Instead of that: access tokens from this file, one a line, used in turn
    #[arg(long, value_name = "FILE", conflicts_with = "secret_file")]
    pub tokens: Option<PathBuf>,
    /// Processes to watch: PID, NAME=PID, or NAME=PID+ with all its descendants
    #[arg(long, value_name = "PID,…", value_delimiter = ',')]
    pub pids: Vec<Watched>,
    /// Seconds without sockets, to know what the processes use anyway; 0 does not wait for their memory to stand still either
    #[arg(long, default_value_t = 10, value_name = "SECS", value_parser = clap::value_parser!(u64).range(0..=600))]
    pub baseline: u64,
    /// Seconds to hold the sockets (heartbeats come every 25 s)
    #[arg(long, default_value_t = 60, value_name = "SECS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub hold: u64,
}

#[derive(Debug, Serialize)]
pub struct Report {
    pub sockets: usize,
    pub users: usize,
    /// The processes' memory stood still before the sockets came; if not, the figures of memory are doubtful.
    pub settled: bool,
    pub hold_s: f64,
    pub connect: socket::Opened,
    pub costs: Vec<Cost>,
    /// The kernel's slabs, both ends of each loopback connection, the generator's included.
    pub slab_bytes_per_socket: f64,
    pub tally: Tally,
    pub still_open: usize,
}

pub fn run(runtime: &tokio::runtime::Runtime, options: &Options, world: &mut World) -> Result<Report> {
    let sockets = options.sockets as usize;
    let tokens = tokens(runtime, options, world)?;
    let mut swarm = Swarm::new(sockets)?;

    let settled = options.baseline == 0 || settle(&options.pids)?;
    let slab_before = process::slab_bytes()?;
    let first = samples(&options.pids)?;
    std::thread::sleep(Duration::from_secs(options.baseline));
    let before = samples(&options.pids)?;

    let progress = Progress::new("sockets", sockets);
    let wanted: Vec<_> = (0..sockets).map(|place| (place, tokens[place % tokens.len()].clone())).collect();
    let mut open = |part| socket::open(runtime, &mut swarm, &world.server, &options.socket, part, &progress);
    let (lower, upper) = wanted.split_at(sockets / 2);
    let connected = open(lower)?;
    let half = samples(&options.pids)?;
    let connect = connected.and(&open(upper)?);
    drop(progress);
    let opened = samples(&options.pids)?;
    swarm.tally = Tally::default();
    let held_for = hold(&mut swarm, Duration::from_secs(options.hold))?;
    let held = samples(&options.pids)?;
    let slab_after = process::slab_bytes()?;

    let baseline = Duration::from_secs(options.baseline);
    let costs = options.pids.iter().enumerate().map(|(n, watched)| {
        let (first, before, half, opened, held) = (first[n], before[n], half[n], opened[n], held[n]);
        let samples = Samples { first, before, half, opened, held, baseline, held_for, sockets };
        Cost::new(watched.name.clone(), &samples)
    });
    Ok(Report {
        sockets,
        settled,
        users: tokens.len().min(sockets),
        hold_s: held_for.as_secs_f64(),
        connect,
        costs: costs.collect(),
        slab_bytes_per_socket: (slab_after as f64 - slab_before as f64) / sockets as f64,
        tally: swarm.tally.clone(),
        still_open: sockets - swarm.gaps().len(),
    })
}

fn tokens(runtime: &tokio::runtime::Runtime, options: &Options, world: &mut World) -> Result<Vec<Arc<str>>> {
    let lifetime = Duration::from_secs((options.hold + options.baseline + 120).min(1_800));
    if let Some(path) = &options.tokens {
        let text = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
        let tokens: Vec<Arc<str>> =
            text.lines().map(str::trim).filter(|line| !line.is_empty()).map(Arc::from).collect();
        if tokens.is_empty() {
            bail!("{} holds no token", path.display());
        }
        return Ok(tokens);
    }
    if let Some(path) = &options.secret_file {
        let secret = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
        runtime.block_on(world.need_users(1, lifetime))?;
        let mint = Mint::new(&world.tokens(1)[0], secret_in(&secret).as_bytes())?;
        return Ok((0..options.sockets).map(|_| Arc::from(mint.token())).collect());
    }
    let users = options.users.min(options.sockets) as usize;
    runtime.block_on(world.need_users(users, lifetime))?;
    Ok(world.tokens(users))
}

fn samples(watched: &[Watched]) -> Result<Vec<Sample>> {
    watched.iter().map(Watched::sample).collect()
}

/// Waits, at most 30 s, until the processes' memory has stood still for 3 s: what signing in has freed may be given back
/// late, and would be taken for sockets that cost less than nothing.
fn settle(watched: &[Watched]) -> Result<bool> {
    let anonymous = || samples(watched).map(|all| all.iter().map(|sample| sample.memory.anonymous).sum::<u64>());
    let (mut last, mut still) = (anonymous()?, 0);
    for _ in 0..30 {
        if still == 3 || watched.is_empty() {
            return Ok(true);
        }
        std::thread::sleep(Duration::from_secs(1));
        let now = anonymous()?;
        still = if now.abs_diff(last) < STILL_BYTES { still + 1 } else { 0 };
        last = now;
    }
    Ok(false)
}

/// Answers what comes for so long.
fn hold(swarm: &mut Swarm, length: Duration) -> Result<Duration> {
    let progress = Progress::new("holding, s", length.as_secs() as usize);
    let started = clock::monotonic();
    loop {
        let past = started.elapsed();
        if past >= length {
            return Ok(past);
        }
        progress.at(past.as_secs() as usize);
        swarm.poll((length - past).min(Duration::from_millis(500)), &mut |_, _, _| {})?;
    }
}

impl Report {
    /// A held socket that ended breaks the promise of this mode.
    pub fn verdict(&self) -> Verdict {
        Verdict { broken: self.still_open < self.sockets, valid: true }
    }

    pub fn table(&self) -> Table {
        let mut table = Table::new(&format!("idle: {} sockets of {} users", self.sockets, self.users));
        table.row("connect, upgrade and hello, per second", format!("{:.0}", self.connect.per_second));
        table.row("held, seconds", format!("{:.0}", self.hold_s));
        let closed = format!("{}, {}, {}", self.tally.heartbeats, self.tally.pings, self.sockets - self.still_open);
        table.row("heartbeats, pings, sockets that ended", closed);
        if let Some(why) = &self.tally.last_close {
            table.row("the last of them ended by", why);
        }
        for cost in &self.costs {
            cost.tell(&mut table);
        }
        if !self.settled {
            table.note("DOUBTFUL: the processes' memory did not stand still before the sockets came");
        }
        table.row("kernel slabs, bytes per socket, both ends", format!("{:.0}", self.slab_bytes_per_socket));
        table
    }
}
