//! The others: a few rooms whose members' sockets are on gateways that stay, and messages in them at a low rate, each timed.
//! What they feel of the storm is what the run is about.

use super::spread::Spread;
use crate::report::latency::{Latency, Recorder};
use crate::report::progress::Progress;
use crate::rooms::audit::Audit;
use crate::rooms::outcome::Outcome;
use crate::rooms::plan::{Plan, Seats};
use crate::rooms::scan::Scanner;
use crate::rooms::step::{Stage, Timeline};
use crate::setup::World;
use crate::socket::swarm::Swarm;
use crate::{socket, watch};
use anyhow::{Context, Result, bail};
use shared::clock;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Of each room.
pub const MEMBERS: usize = 10;
const BODY_BYTES: usize = 128;
/// How often sockets that came to the gateway to be lost are opened again.
const MOVES: usize = 100;

pub struct Trickle {
    stage: Stage,
    tokens: Vec<Arc<str>>,
    step: u32,
}

impl Trickle {
    pub fn new(runtime: &tokio::runtime::Runtime, world: &mut World, rooms: usize, launcher: u32) -> Result<Self> {
        let seats: Vec<Vec<usize>> = (0..rooms).map(|room| (room * MEMBERS..(room + 1) * MEMBERS).collect()).collect();
        let names = runtime.block_on(world.need_rooms(&seats))?;
        let seats = Seats { rooms: seats, sockets_per_user: 1 };
        let stage = Stage {
            swarm: Swarm::new(rooms * MEMBERS)?,
            audit: Audit::new(&seats, &names),
            seats,
            names,
            scanner: Scanner::new(),
            body_bytes: BODY_BYTES,
            watch: watch::Options { parts_of: Some(launcher), ..watch::Options::default() },
            timeline: Some(Timeline::default()),
        };
        Ok(Self { stage, tokens: world.tokens(rooms * MEMBERS), step: 0 })
    }

    /// Opens the sockets on any gateway but this one.
    pub fn open(
        &mut self,
        runtime: &tokio::runtime::Runtime,
        world: &World,
        options: &socket::Options,
        gateways: &[u32],
        not_on: u32,
    ) -> Result<()> {
        let swarm = &mut self.stage.swarm;
        for _ in 0..MOVES {
            let wanted: Vec<_> = swarm.gaps().into_iter().map(|place| (place, self.tokens[place].clone())).collect();
            let progress = Progress::new("the others' sockets", wanted.len());
            socket::open(runtime, swarm, &world.server, options, &wanted, &progress)?;
            let spread = Spread::look(world.server.address.port(), gateways)?;
            let places = 0..self.tokens.len();
            let holder = |place: usize| swarm.local(place).and_then(|address| spread.holder(address));
            let misplaced: Vec<usize> = places.filter(|place| holder(*place) == Some(not_on)).collect();
            if misplaced.is_empty() {
                return Ok(());
            }
            misplaced.into_iter().for_each(|place| swarm.close(place));
        }
        bail!("after {MOVES} attempts some of the others' sockets still come to the gateway that is to be lost");
    }

    /// So many messages a second for so long.
    pub fn run(&mut self, rate: f64, warmup: Duration, seconds: Duration) -> Result<Outcome> {
        self.step += 1;
        let unix_ms = clock::now().timestamp_millis().unsigned_abs();
        let tag = ((unix_ms >> 10) as u32) << 8 | (self.step & 0xff);
        self.stage.run(Plan::new(rate, warmup, seconds, tag, unix_ms))
    }

    /// Deliveries of the last step whose messages were planned between these times.
    pub fn deliveries(&self, from: Instant, to: Instant) -> Result<Window> {
        let timeline = self.stage.timeline.as_ref().context("cannot fail because it was asked for")?;
        let mut all = Recorder::new();
        let mut seconds: Vec<Recorder> = Vec::new();
        for (planned, took) in &timeline.deliveries {
            let at = timeline.origin.map(|origin| origin + *planned);
            if let Some(at) = at.filter(|at| (from..=to).contains(at)) {
                let second = at.saturating_duration_since(from).as_secs() as usize;
                seconds.resize_with(seconds.len().max(second + 1), Recorder::new);
                seconds[second].record(*took);
                all.record(*took);
            }
        }
        let p99s = seconds.iter().map(|second| second.summary().p99_ms).collect();
        Ok(Window { delivery: all.summary(), p99_ms_by_second: p99s })
    }
}

/// Deliveries within a time.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Window {
    pub delivery: Latency,
    pub p99_ms_by_second: Vec<f64>,
}
