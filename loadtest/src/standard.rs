//! `loadtest standard`: the runs whose figures stand in the documentation, one after the other, in about three minutes
//! (and the time it takes to register the accounts, the first time). `rookery bench` calls it; beside a cluster it does the
//! rooms only, for the machine's limits and what a socket costs are the same there.

use crate::process::Watched;
use crate::report::warn;
use crate::setup::World;
use crate::{Verdict, idle, limit, rooms, setup, socket, watch};
use anyhow::Result;
use clap::Args;
use serde::Serialize;

#[derive(Args, Clone, Debug)]
#[group(skip)]
pub struct Options {
    #[command(flatten)]
    pub setup: setup::Options,
    #[command(flatten)]
    pub socket: socket::Options,
    /// Accounts to use; 1,000 fill the rooms with one seat each, fewer put each user into several rooms
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(10..=1_000))]
    pub users: u32,
    /// The server's processes, for their memory: PID, NAME=PID, or NAME=PID+ with all its descendants
    #[arg(long, value_name = "PID,…", value_delimiter = ',')]
    pub pids: Vec<Watched>,
    #[command(flatten)]
    pub watch: watch::Options,
    /// The rooms only: neither the machine's limits nor idle sockets
    #[arg(long)]
    pub rooms_only: bool,
    /// PostgreSQL for the bare inserts; without it they are left out
    #[arg(long, value_name = "URL")]
    pub database_url: Option<String>,
    /// Where to write the file for fdatasync
    #[arg(long, default_value = ".", value_name = "DIR")]
    pub dir: std::path::PathBuf,
}

#[derive(Debug, Serialize)]
pub struct Report {
    limit: Option<limit::Report>,
    idle: Option<idle::Report>,
    /// 100 rooms of 10 at 300 messages/s.
    quiet: rooms::Report,
    /// The same rooms, the ladder.
    maximum: rooms::Report,
}

const IDLE_SOCKETS: u32 = 2_000;
const QUIET_RATE: u32 = 300;

pub fn run(runtime: &tokio::runtime::Runtime, options: &Options, world: &mut World) -> Result<Report> {
    if cfg!(debug_assertions) {
        warn("built without optimisation: the figures of this run mean nothing");
    }
    let (mut limit, mut idle) = (None, None);
    if !options.rooms_only {
        let limit = limit.insert(limit::run(runtime, &options.limit())?);
        limit.table().print()?;
        let idle = idle.insert(idle::run(runtime, &options.idle(), world)?);
        idle.table().print()?;
    }
    let quiet = rooms::run(runtime, &options.rooms(QUIET_RATE), world)?;
    quiet.table().print()?;
    let maximum = rooms::run(runtime, &options.rooms(0), world)?;
    maximum.table().print()?;
    Ok(Report { limit, idle, quiet, maximum })
}

impl Options {
    fn limit(&self) -> limit::Options {
        limit::Options {
            sockets: 1_000,
            frame_bytes: 500,
            database_url: self.database_url.clone(),
            body_bytes: 128,
            conversations: 100,
            seconds: 2,
            dir: self.dir.clone(),
            no_fanout: false,
        }
    }

    fn idle(&self) -> idle::Options {
        idle::Options {
            setup: self.setup.clone(),
            socket: self.socket.clone(),
            sockets: IDLE_SOCKETS,
            users: self.users,
            secret_file: None,
            tokens: None,
            pids: self.pids.clone(),
            baseline: 5,
            hold: 30,
        }
    }

    fn rooms(&self, rate: u32) -> rooms::Options {
        rooms::Options {
            setup: self.setup.clone(),
            socket: self.socket.clone(),
            rooms: 100,
            members: 10,
            users: Some(self.users),
            sockets_per_user: 1,
            rate,
            seconds: 15,
            warmup: 3,
            body_bytes: 128,
            watch: self.watch.clone(),
            ladder: rooms::LadderOptions { from: 1_000, to: 200_000, step_seconds: 4, ladder_seconds: 90 },
        }
    }
}

impl Report {
    pub fn verdict(&self) -> Verdict {
        let idle = self.idle.as_ref().map(idle::Report::verdict);
        let all = || [self.quiet.verdict(), self.maximum.verdict()].into_iter().chain(idle);
        Verdict { broken: all().any(|one| one.broken), valid: all().all(|one| one.valid) }
    }
}
