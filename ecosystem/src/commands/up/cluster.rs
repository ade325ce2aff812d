//! `rookery up --cluster`: the services, one migration, one bound port, and then the launcher, until told to stop.

use super::fixed::Fixed;
use super::{Scene, announce, banner, listen, row};
use crate::cluster::blueprint::Blueprint;
use crate::cluster::console::Console;
use crate::cluster::engines::Engines;
use crate::cluster::launcher::{Launcher, Order, Size};
use crate::cluster::port::BACKLOG;
use crate::cluster::processes::{Board, Processes};
use crate::commands::read_config;
use crate::data_dir::Claim;
use crate::{cli, say};
use anyhow::{Context, Result};
use shared::clock;
use shared::config::Config;
use shared::lifecycle::{Backoff, EXIT_INTERRUPTED, Stop};
use shared::store::{Store, StoreError};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Of one process to PostgreSQL beside its pool and its sequencers: locks, and a little room.
const CONNECTIONS_BESIDE: u32 = 4;
/// What the setting takes at most.
const CORES_MAX: usize = 256;
/// From one word to the next about a database that is away.
const REMIND: Duration = Duration::from_secs(10);

pub fn run(arguments: &cli::Up, scene: &Scene, claim: &mut Claim) -> Result<()> {
    let size = Size { gateways: arguments.gateways, workers: arguments.workers };
    let mut settings = scene.surroundings.settings.clone();
    let config = read_config(&super::with_stand_ins(&settings))?;
    let engines = Engines::start(&scene.data, &scene.surroundings, connections(&config, size))?;
    let made = engines.settings();
    made.iter().for_each(|(name, value)| settings.set(name, value));
    let config = read_config(&settings)?;
    let fixed = Fixed::new(&config, scene, arguments.port, made);

    // One thread, this one: see `launcher`.
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start a runtime")?;
    let (stop, engines) = (Stop::default(), Arc::new(engines));
    let ended = runtime.block_on(async {
        tokio::spawn(listen(&stop)?);
        let ended = launch(&config, size, fixed, &stop, engines.clone(), scene, claim).await;
        // Not on this thread, which has to hear a second signal meanwhile.
        let ending = tokio::task::spawn_blocking(move || drop(engines));
        tokio::select! {
            _ = ending => {}
            () = stop.ended() => {}
        }
        ended
    });
    if stop.is_ended() {
        // The services get their end from the kernel, as everybody who is still there.
        std::process::exit(EXIT_INTERRUPTED);
    }
    ended
}

/// From the services being there until no process is left.
async fn launch(
    config: &Config,
    size: Size,
    fixed: Fixed,
    stop: &Stop,
    engines: Arc<Engines>,
    scene: &Scene,
    claim: &mut Claim,
) -> Result<()> {
    if !migrate(config, stop).await? {
        return Ok(());
    }
    let port = SocketAddr::from((config.http.host, config.http.port));
    let listener = gateway::server::listen(port, BACKLOG).with_context(|| format!("cannot listen on {port}"))?;
    let address = listener.local_addr().context("the port has no address")?;
    let blueprint = Blueprint {
        program: scene.surroundings.program.clone(),
        listener: listener.into_std().context("cannot share the port")?,
        environment: fixed.made.clone(),
        cores: shares(config, size, scene),
        secrets: vec![("JWT_SECRET".to_owned(), config.auth.secret.expose().to_owned())],
        logs: scene.logs.clone(),
        probe_port: config.cluster.probe.port(),
    };
    let launcher = Launcher::new(Order {
        size,
        blueprint,
        console: Console::start(config.log.json).context("cannot start a thread")?,
        board: Board::of(&scene.data),
        drain: config.http.drain,
        services: Box::new(move || engines.services()),
        unchanged: Box::new(move || fixed.check()),
    });
    let up = |processes: &Processes| {
        announce(claim, address);
        banner(scene, address, rows(processes), "Ctrl-C, or `rookery down`; `rookery reload` replaces all processes");
    };
    launcher.run(stop, up).await
}

/// What all processes may open to PostgreSQL together, twice: in a reload the old and the new are there.
fn connections(config: &Config, size: Size) -> u32 {
    let (pool, sequencers) = (config.store.pool as u32, config.worker.sequencers as u32);
    2 * u32::from(size.gateways + size.workers) * (pool + sequencers + CONNECTIONS_BESIDE)
}

/// Processes of a kind work at the same time: with threads for all cores each, they would wait for each other in the kernel.
fn shares(config: &Config, size: Size, scene: &Scene) -> (usize, usize) {
    let given = scene.surroundings.settings.get("CORES").is_some_and(|cores| cores != "0");
    let share =
        |processes: u16| if given { config.cores } else { config.cores.div_ceil(processes.into()).min(CORES_MAX) };
    (share(size.gateways), share(size.workers))
}

/// Once, here, before there is a process that needs the schema. False: told to stop while the database was away.
async fn migrate(config: &Config, stop: &Stop) -> Result<bool> {
    let store = Store::new(&config.store)?;
    let (mut backoff, mut told) = (Backoff::default(), None);
    while !stop.is_stopped() {
        let migrated = async {
            store.migrate().await?;
            store.check().await
        };
        match migrated.await {
            Ok(()) => return Ok(true),
            Err(StoreError::Unavailable(why)) => {
                if told.is_none_or(|at: Instant| at.elapsed() >= REMIND) {
                    told = Some(clock::monotonic());
                    say::progress(format!("waiting for PostgreSQL: {why}"));
                }
            }
            Err(error) => return Err(error).context("cannot use the database"),
        }
        stop.sleep(backoff.next()).await;
    }
    Ok(false)
}

fn rows(processes: &Processes) -> Vec<Vec<String>> {
    let services = processes.services.iter().map(|service| row(&service.name, service.place.clone()));
    let named: Vec<String> = processes
        .processes
        .iter()
        .map(|entry| format!("{} (pid {})", entry.name, entry.pid.map_or("?".to_owned(), |pid| pid.to_string())))
        .collect();
    services.chain([row("processes", named.join(", "))]).collect()
}
