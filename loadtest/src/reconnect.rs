//! `loadtest reconnect`: a gateway that holds a third of everybody is killed, and all of its clients come back at once.
//!
//! The crowd is put into the database directly (registering it would take half an hour of password hashes), holds its sockets
//! from several processes, and behaves as docs/socket.md wants it. Measured: what hello and catching up cost PostgreSQL in
//! statements, how long the way back takes, and what others on the gateways that stay feel of it meanwhile.
//!
//! population → crew (processes) → crowd (each process's people) → person; trickle (the others); storm (the kill) → report.

mod crew;
mod crowd;
mod dialer;
pub mod part;
mod person;
pub mod population;
mod report;
mod spread;
mod storm;
mod trickle;
mod words;

use crate::database::{self, Client, statements::Statements};
use crate::process::parts::Parts;
use crate::report::warn;
use crate::setup::token::secret_in;
use crate::setup::{self, World};
use crate::socket;
use anyhow::{Context, Result, bail};
use clap::Args;
use crew::Crew;
use population::Population;
pub use report::Report;
use report::{Asked, Gateway};
use shared::clock;
use spread::Spread;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use storm::Storm;
use trickle::{MEMBERS, Trickle};
use uuid::Uuid;
use words::{Brief, Order};

/// Sockets of one process of the crowd; common limits on open files are 20,000.
const SOCKETS_OF_A_PART: u32 = 15_000;
const OPEN_LIMIT: Duration = Duration::from_secs(300);
const SYNC_LIMIT: Duration = Duration::from_secs(600);
/// How long the server is looked at without the crowd, to know what it asks its database by itself.
const BACKGROUND: Duration = Duration::from_secs(5);
/// Timed before the storm, for comparison.
const CALM: Duration = Duration::from_secs(10);
const WARMUP: Duration = Duration::from_secs(2);

#[derive(Args, Clone, Debug)]
#[group(skip)]
pub struct Options {
    #[command(flatten)]
    pub setup: setup::Options,
    #[command(flatten)]
    pub socket: socket::Options,
    /// People, each with one socket
    #[arg(long, default_value_t = 45_000, value_parser = clap::value_parser!(u32).range(100..=200_000))]
    pub sockets: u32,
    /// Conversations that each is in: the positions of his sync
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub positions: u32,
    /// Members of each of these
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(2..=5_000))]
    pub members: u32,
    /// Something is said in so many of them while people are away
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(0..=1_000))]
    pub news: u32,
    /// Messages per second among the others, in rooms of ten
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub rate: u32,
    /// Those rooms
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub rooms: u32,
    /// The longest pause before a client's first attempt to come back; it doubles with each that fails
    #[arg(long, default_value_t = 2_000, value_name = "MS", value_parser = clap::value_parser!(u64).range(0..=30_000))]
    pub jitter_ms: u64,
    /// Seconds of messages from the kill on; whoever is not back by then is waited for without
    #[arg(long, default_value_t = 30, value_name = "SECS", value_parser = clap::value_parser!(u64).range(5..=600))]
    pub seconds: u64,
    /// The `rookery up --cluster` whose gateways hold the sockets
    #[arg(long, value_name = "PID")]
    pub launcher: u32,
    /// The gateway to kill [default: the one with the most sockets]
    #[arg(long, value_name = "PID")]
    pub kill: Option<u32>,
    /// The server's PostgreSQL: the crowd is inserted there, and its statements are counted there if it has
    /// pg_stat_statements loaded
    #[arg(long, value_name = "URL")]
    pub database_url: String,
    /// The server's JWT_SECRET: `secrets` in the data directory, a `.env`, or the bare secret
    #[arg(long, value_name = "FILE")]
    pub secret_file: PathBuf,
}

pub fn run(runtime: &tokio::runtime::Runtime, options: &Options, world: &mut World) -> Result<Report> {
    let database = Database::open(runtime, &options.database_url)?;
    let background = database.asked(|| sleep(BACKGROUND))?.0;
    let others = options.rooms as usize * MEMBERS;
    runtime.block_on(world.need_users(others + 1, Duration::from_secs(1_500)))?;
    let mut trickle = Trickle::new(runtime, world, options.rooms as usize, options.launcher)?;
    let scene = Scene::set(&database, options, world, others)?;
    let mut report = Report::new(options, &scene.population);
    report.inserted_s = scene.inserted.as_secs_f64();

    let mut crew = Crew::start(&scene.briefs(options, world)?)?;
    let (opening, opened) = database.asked(|| {
        crew.order(&Order::Open)?;
        crew.opened(OPEN_LIMIT)
    })?;
    report.opened(opened, opening.as_ref().zip(background.as_ref()));
    let (first_sync, synced) = database.asked(|| {
        crew.order(&Order::Sync)?;
        report.first_syncs = crew.synced(SYNC_LIMIT)?;
        Ok(())
    })?;
    report.first_sync_s = synced.as_secs_f64();

    let gateways = Parts::look(options.launcher)?.gateways();
    let spread = Spread::look(world.server.address.port(), &gateways)?;
    report.before = Gateway::all(&spread)?;
    let victim = victim(&spread, options.kill)?;
    trickle.open(runtime, world, &options.socket, &gateways, victim)?;
    let lost = spread.of(victim) as u32;
    let rate = f64::from(options.rate);
    let (calm, _) = database.asked(|| trickle.run(rate, WARMUP, CALM).map(|calm| report.calm = Some(calm)))?;

    let storm =
        Storm { victim, lost, news: scene.news(options, world, others), limit: Duration::from_secs(options.seconds) };
    let (asked, _) = database.asked(|| {
        let fates = storm.rage(&mut crew, &mut trickle, rate)?;
        report.fates(fates);
        Ok(())
    })?;
    if let (Some(quiet), Some(first_sync), Some(calm), Some(asked)) = (background, first_sync, calm, asked) {
        report.asked = Some(Asked::new(report.first_syncs, &first_sync, report.syncs, &asked, &[&quiet, &calm]));
    } else {
        warn("this PostgreSQL counts no statements: load pg_stat_statements (shared_preload_libraries)");
    }
    let gateways = Parts::look(options.launcher)?.gateways();
    report.after = Gateway::all(&Spread::look(world.server.address.port(), &gateways)?)?;
    Ok(report)
}

/// The server's PostgreSQL.
struct Database<'a> {
    runtime: &'a tokio::runtime::Runtime,
    client: Client,
    counted: bool,
}

impl<'a> Database<'a> {
    fn open(runtime: &'a tokio::runtime::Runtime, url: &str) -> Result<Self> {
        let (client, counted) = runtime.block_on(async {
            let client = database::connect(url).await?;
            let counted = database::statements::are_counted(&client).await?;
            anyhow::Ok((client, counted))
        })?;
        Ok(Self { runtime, client, counted })
    }

    /// What the server asks PostgreSQL while something is done, and how long that takes.
    fn asked(&self, work: impl FnOnce() -> Result<()>) -> Result<(Option<Statements>, Duration)> {
        let read = || match self.counted {
            true => self.runtime.block_on(Statements::read(&self.client)).map(Some),
            false => Ok(None),
        };
        let before = read()?;
        let begun: Instant = clock::monotonic();
        work()?;
        let took = begun.elapsed();
        let after = read()?;
        Ok((after.zip(before).map(|(after, before)| after.since(&before)), took))
    }
}

/// The crowd, as the server and its database know it.
struct Scene {
    population: Population,
    inserted: Duration,
}

impl Scene {
    fn set(database: &Database<'_>, options: &Options, world: &World, herald: usize) -> Result<Self> {
        let unix_ms = clock::now().timestamp_millis().unsigned_abs();
        let population =
            Population { people: options.sockets, rounds: options.positions, room: options.members, unix_ms };
        let herald: Uuid = world.state.users[herald].id.parse().context("the server's id of a user")?;
        let news = options.news.min(population.conversations());
        let begun = clock::monotonic();
        let insert = database::crowd::insert(&database.client, &population, herald, news);
        database.runtime.block_on(insert)?;
        Ok(Self { population, inserted: begun.elapsed() })
    }

    fn briefs(&self, options: &Options, world: &World) -> Result<Vec<Brief>> {
        let path = &options.secret_file;
        let secret = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
        let pattern = world.state.users[0].access_token.clone();
        let people = self.population.people;
        let parts = people.div_ceil(SOCKETS_OF_A_PART).max(3);
        let edge = |part: u32| (u64::from(people) * u64::from(part) / u64::from(parts)) as u32;
        let brief = |part: u32| Brief {
            url: options.setup.url.clone(),
            sources: options.socket.sources,
            population: self.population,
            first: edge(part),
            end: edge(part + 1),
            pattern: pattern.clone(),
            secret: secret_in(&secret).to_owned(),
            jitter_ms: options.jitter_ms,
        };
        Ok((0..parts).map(brief).collect())
    }

    fn news<'w>(&self, options: &Options, world: &'w World, herald: usize) -> storm::Herald<'w> {
        let count = options.news.min(self.population.conversations());
        let conversations = (0..count).map(|number| (number, self.population.conversation(number))).collect();
        let token = world.state.users[herald].access_token.as_str();
        storm::Herald { server: &world.server, token, conversations }
    }
}

fn victim(spread: &Spread, wanted: Option<u32>) -> Result<u32> {
    if spread.counts.len() < 2 {
        bail!("there is one gateway only: nobody would be left (`up --cluster --gateways 3`)");
    }
    let fullest = spread.counts.iter().max_by_key(|(_, count)| *count).map(|(pid, _)| *pid);
    match wanted {
        Some(pid) if spread.of(pid) == 0 => bail!("process {pid} is no gateway of this cluster, or holds no socket"),
        Some(pid) => Ok(pid),
        None => fullest.context("cannot fail because there are two"),
    }
}

fn sleep(length: Duration) -> Result<()> {
    std::thread::sleep(length);
    Ok(())
}
