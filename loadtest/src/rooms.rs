//! `loadtest rooms`: rooms of several members each, messages offered open loop, every delivery checked.
//!
//! plan (when, where, who) → step (send and read) → ledger and audit (times, promises) → outcome; the ladder repeats
//! steps at rising rates. With fewer users than seats, users sit in several rooms; a message still goes to every member
//! of its room.

pub mod audit;
pub mod ladder;
pub mod ledger;
pub mod outcome;
pub mod plan;
pub mod scan;
pub mod step;

use crate::report::Table;
use crate::report::progress::Progress;
use crate::setup::World;
use crate::socket::swarm::Swarm;
use crate::{Verdict, setup, socket, watch};
use anyhow::{Result, bail};
use audit::Audit;
use clap::Args;
use ladder::{Climbed, Ladder, climb};
use outcome::Outcome;
use plan::{Plan, Seats};
use scan::Scanner;
use serde::Serialize;
use shared::clock;
use std::sync::Arc;
use std::time::Duration;
use step::Stage;

/// Messages of one step; request ids leave room for no more.
const STEP_MESSAGES: u64 = 1 << 26;

#[derive(Args, Clone, Debug)]
#[group(skip)]
pub struct Options {
    #[command(flatten)]
    pub setup: setup::Options,
    #[command(flatten)]
    pub socket: socket::Options,
    /// Rooms (group conversations)
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub rooms: u32,
    /// Members of each room
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(2..=5_000))]
    pub members: u32,
    /// Users in all; fewer than rooms × members puts users into several rooms [default: rooms × members]
    #[arg(long, value_parser = clap::value_parser!(u32).range(2..=19_000))]
    pub users: Option<u32>,
    /// Sockets of each user
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub sockets_per_user: u32,
    /// Messages per second offered in all; 0 looks for the maximum by a ladder
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    pub rate: u32,
    /// Measured seconds at the given rate
    #[arg(long, default_value_t = 20, value_name = "SECS", value_parser = clap::value_parser!(u64).range(1..=3_600))]
    pub seconds: u64,
    /// Seconds before that, sent and checked but not timed
    #[arg(long, default_value_t = 2, value_name = "SECS", value_parser = clap::value_parser!(u64).range(0..=60))]
    pub warmup: u64,
    /// Bytes of a message's body
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u32).range(64..=16_384))]
    pub body_bytes: u32,
    #[command(flatten)]
    pub watch: watch::Options,
    #[command(flatten)]
    pub ladder: LadderOptions,
}

#[derive(Args, Clone, Debug)]
#[group(skip)]
pub struct LadderOptions {
    /// Ladder: the first rate
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub from: u32,
    /// Ladder: the last rate
    #[arg(long, default_value_t = 200_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub to: u32,
    /// Ladder: measured seconds of each step (a second of warm-up before it)
    #[arg(long, default_value_t = 5, value_name = "SECS", value_parser = clap::value_parser!(u64).range(1..=600))]
    pub step_seconds: u64,
    /// Ladder: begin no step after so many seconds
    #[arg(long, default_value_t = 150, value_name = "SECS", value_parser = clap::value_parser!(u64).range(1..=7_200))]
    pub ladder_seconds: u64,
}

/// What a run of rooms comes to.
#[derive(Debug, Serialize)]
pub struct Report {
    rooms: usize,
    members: usize,
    users: usize,
    sockets: usize,
    body_bytes: usize,
    wire: crate::wire::Kind,
    connect: socket::Opened,
    steps: Steps,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum Steps {
    Fixed(Box<Outcome>),
    Ladder(Box<Climbed>),
}

/// Opens the sockets, runs the steps and tells the outcome. `world` keeps what is set up for the next run.
pub fn run(runtime: &tokio::runtime::Runtime, options: &Options, world: &mut World) -> Result<Report> {
    let seats = seats(options)?;
    let users = seats.rooms.iter().flatten().max().map_or(0, |user| user + 1);
    runtime.block_on(world.need_users(users, lifetime(options)))?;
    let names = runtime.block_on(world.need_rooms(&seats.rooms))?;
    let sockets = users * seats.sockets_per_user;
    let tokens = world.tokens(users);
    let tokens: Vec<Arc<str>> = (0..sockets).map(|place| tokens[place / seats.sockets_per_user].clone()).collect();
    let mut run = Run {
        runtime,
        options,
        server: &world.server,
        tokens,
        stage: Stage {
            swarm: Swarm::new(sockets)?,
            audit: Audit::new(&seats, &names),
            seats,
            names,
            scanner: Scanner::new(),
            body_bytes: options.body_bytes as usize,
            watch: options.watch.clone(),
            timeline: None,
        },
        step: 0,
    };
    let connect = run.open()?;
    let steps = run.steps()?;
    Ok(Report {
        rooms: options.rooms as usize,
        members: options.members as usize,
        users,
        sockets,
        body_bytes: options.body_bytes as usize,
        wire: options.socket.wire,
        connect,
        steps,
    })
}

struct Run<'a> {
    runtime: &'a tokio::runtime::Runtime,
    options: &'a Options,
    server: &'a crate::http::Server,
    tokens: Vec<Arc<str>>,
    stage: Stage,
    /// Steps so far; tells their messages apart.
    step: u32,
}

impl Run<'_> {
    /// Opens whatever is not open: all at first, later what a step's overload closed.
    fn open(&mut self) -> Result<socket::Opened> {
        let gaps = self.stage.swarm.gaps();
        let progress = Progress::new("sockets", gaps.len());
        let wanted: Vec<_> = gaps.iter().map(|place| (*place, self.tokens[*place].clone())).collect();
        gaps.iter().for_each(|place| self.stage.audit.reopened(*place));
        let swarm = &mut self.stage.swarm;
        socket::open(self.runtime, swarm, self.server, &self.options.socket, &wanted, &progress)
    }

    fn steps(&mut self) -> Result<Steps> {
        let options = self.options;
        if options.rate > 0 {
            let outcome = self.step(f64::from(options.rate), options.warmup, options.seconds)?;
            return Ok(Steps::Fixed(Box::new(outcome)));
        }
        let LadderOptions { from, to, step_seconds, ladder_seconds } = options.ladder;
        let ends = clock::monotonic() + Duration::from_secs(ladder_seconds);
        let ladder = Ladder::new(f64::from(from), f64::from(to.max(from)));
        let climbed = climb(ladder, || clock::monotonic() < ends, |rate| self.step(rate, 1, step_seconds))?;
        Ok(Steps::Ladder(Box::new(climbed)))
    }

    fn step(&mut self, rate: f64, warmup: u64, seconds: u64) -> Result<Outcome> {
        if rate * (warmup + seconds) as f64 >= STEP_MESSAGES as f64 {
            bail!("{rate:.0} messages/s for {seconds} s are more than the {STEP_MESSAGES} of one step");
        }
        self.open()?;
        self.step += 1;
        let unix_ms = clock::now().timestamp_millis().unsigned_abs();
        // Unlike that of the last step and of the last run, so that their late messages are not taken for this one's.
        let tag = ((unix_ms >> 10) as u32) << 8 | (self.step & 0xff);
        let (warmup, seconds) = (Duration::from_secs(warmup), Duration::from_secs(seconds));
        self.stage.run(Plan::new(rate, warmup, seconds, tag, unix_ms))
    }
}

/// Room k takes the next `members` users of the circle.
fn seats(options: &Options) -> Result<Seats> {
    let (rooms, members) = (options.rooms as usize, options.members as usize);
    let users = options.users.map_or(rooms * members, |users| (users as usize).min(rooms * members));
    if users < members {
        bail!("a room of {members} needs {members} users; --users says {users}");
    }
    let sockets_per_user = options.sockets_per_user as usize;
    if users * sockets_per_user > crate::SOCKETS_LIMIT {
        bail!("{} sockets; a process opens at most {}", users * sockets_per_user, crate::SOCKETS_LIMIT);
    }
    let room = |room: usize| (0..members).map(|member| (room * members + member) % users).collect();
    Ok(Seats { rooms: (0..rooms).map(room).collect(), sockets_per_user })
}

/// How long the tokens must live: through the steps, their draining and the reopening of sockets.
fn lifetime(options: &Options) -> Duration {
    let steps = if options.rate > 0 { options.seconds + options.warmup } else { options.ladder.ladder_seconds };
    Duration::from_secs((steps + 120).min(1_800))
}

impl Report {
    pub fn verdict(&self) -> Verdict {
        let outcomes: Vec<&Outcome> = match &self.steps {
            Steps::Fixed(outcome) => vec![outcome],
            Steps::Ladder(climbed) => climbed.rungs.iter().collect(),
        };
        let broken = outcomes.iter().any(|outcome| outcome.findings.broken());
        let decisive = match &self.steps {
            Steps::Fixed(outcome) => Some(&**outcome),
            Steps::Ladder(climbed) => climbed.sustained.as_ref(),
        };
        Verdict { broken, valid: decisive.is_some_and(|outcome| outcome.valid) }
    }

    pub fn table(&self) -> Table {
        let mut table = Table::new(&format!("rooms: {} of {} members", self.rooms, self.members));
        table.row("users, sockets", format!("{}, {}", self.users, self.sockets));
        if self.users < self.rooms * self.members {
            table.note(&format!(
                "each user sits in {:.1} rooms",
                (self.rooms * self.members) as f64 / self.users as f64
            ));
        }
        table.row("body, bytes", self.body_bytes);
        table.row("connect, upgrade and hello, per second", format!("{:.0}", self.connect.per_second));
        match &self.steps {
            Steps::Fixed(outcome) => outcome.tell(&mut table),
            Steps::Ladder(climbed) => climbed.tell(&mut table),
        }
        table
    }
}

#[cfg(test)]
mod tests;
