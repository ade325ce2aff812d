//! `rookery up`: claims the data directory, brings what is not configured, and hands over to `crate::up` (one process) or
//! to `crate::cluster` (several) until told to stop. What is checked comes first, what is made comes after, so that a bad
//! setting leaves nothing behind.

mod cluster;
mod fixed;

use super::{data_dir, log_dir, read_config, secret_is_given, with_stand_ins};
use crate::cli;
use crate::config::{Surroundings, is_given};
use crate::data_dir::{Claim, DataDir};
use crate::services::postgres::{Options, PrivatePostgres};
use crate::{BadConfiguration, database, say};
use anyhow::{Context, Result, bail};
use shared::config::{Config, Environment};
use shared::lifecycle::{self, Stop};
use shared::telemetry;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::ExitCode;

/// Everything that is right already, before anything has been started.
#[derive(Clone)]
struct Scene {
    /// With what was given at the command line and what was made in the data directory.
    surroundings: Surroundings,
    data: DataDir,
    logs: PathBuf,
    /// The secret for tokens is that of the data directory.
    made_secret: bool,
}

pub fn run(arguments: &cli::Up, surroundings: &Surroundings) -> Result<ExitCode> {
    let mut surroundings = surroundings.clone();
    let settings = &mut surroundings.settings;
    if let Some(port) = arguments.port {
        settings.set("PORT", port.to_string());
    }
    let logs = log_dir(&arguments.place, &surroundings);
    let settings = &mut surroundings.settings;
    settings.set("LOG_DIR", logs.to_string_lossy());
    if arguments.cluster {
        settings.set("PROCESS_NAME", "launcher");
    }
    let config = read_config(&with_stand_ins(settings))?;

    let data = data_dir(&arguments.place, &surroundings);
    // Let go of at the very end, by when nothing is left of what was started.
    let mut claim = data.claim()?;
    port_is_free(&config)?;
    // Before the first metric and the first line; dropped last, when everything has been written.
    let _telemetry = telemetry::start(&config.log).map_err(|error| BadConfiguration(vec![error]))?;
    let settings = &mut surroundings.settings;
    let made_secret = !secret_is_given(settings);
    if made_secret {
        let made = shared::config::read_env_file(&data.secrets()?)?;
        made.iter().for_each(|(name, value)| settings.set(name, value));
    }
    let scene = Scene { surroundings, data, logs, made_secret };
    match arguments.cluster {
        true => cluster::run(arguments, &scene, &mut claim)?,
        false => one_process(&scene, &mut claim)?,
    }
    say::progress("stopped; the data stays");
    Ok(ExitCode::SUCCESS)
}

/// For a friendly word before a second is spent on the database; the listener that counts is bound later.
fn port_is_free(config: &Config) -> Result<()> {
    let address = SocketAddr::from((config.http.host, config.http.port));
    match TcpListener::bind(address) {
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
            bail!(
                "port {} is taken by another program: choose one with --port, or `--port 0` for any free one",
                address.port()
            )
        }
        Err(error) => Err(error).with_context(|| format!("cannot listen on {address}")),
        Ok(_) => Ok(()),
    }
}

fn one_process(scene: &Scene, claim: &mut Claim) -> Result<()> {
    let mut settings = scene.surroundings.settings.clone();
    if ["REDIS_URL", "AMQP_URL"].iter().any(|name| is_given(&settings, name)) {
        say::progress("REDIS_URL and AMQP_URL are for `rookery up --cluster`; this is one process and needs neither");
    }
    let postgres = match database::is_given(&settings) {
        true => None,
        false => Some(private_postgres(&scene.data, &mut settings, &scene.surroundings)?),
    };
    let config = read_config(&settings)?;
    let database = postgres.as_ref().map(|postgres| postgres.data().display().to_string());
    let ended = serve(config, claim, scene, database.unwrap_or("yours (DATABASE_URL)".to_owned()));
    // After the last connection: the server waits for none.
    drop(postgres);
    ended
}

fn private_postgres(
    data: &DataDir,
    settings: &mut Environment,
    surroundings: &Surroundings,
) -> Result<PrivatePostgres> {
    let postgres = database::start_private(data, surroundings, &Options::default())?;
    if postgres.created() {
        say::progress(format!("made a database in {}", postgres.data().display()));
    }
    settings.set("DATABASE_URL", postgres.url());
    Ok(postgres)
}

fn serve(config: Config, claim: &mut Claim, scene: &Scene, database: String) -> Result<()> {
    let runtime = crate::cluster::process::runtime(config.cores)?;
    runtime.block_on(async {
        let stop = Stop::default();
        tokio::spawn(listen(&stop)?);
        let ready = |address: SocketAddr| {
            announce(claim, address);
            banner(scene, address, vec![row("database", database)], "Ctrl-C, or `rookery down`");
        };
        crate::up::run(config, ready, stop).await
    })
}

/// The first signal asks everybody to leave in order, the second ends the program; private services then get their
/// shutdown from the kernel.
fn listen(stop: &Stop) -> Result<impl Future<Output = ()> + use<>> {
    lifecycle::listen(stop.clone(), || say::progress("stopping; once more ends it at once"))
        .context("cannot listen for signals")
}

fn announce(claim: &mut Claim, address: SocketAddr) {
    if let Err(error) = claim.announce(Some(format!("http://{address}"))) {
        tracing::warn!(error = format!("{error:#}"), "`rookery status` will not find this server");
    }
}

fn row(name: &str, value: impl Into<String>) -> Vec<String> {
    vec![format!("  {name}"), value.into()]
}

fn banner(scene: &Scene, address: SocketAddr, more: Vec<Vec<String>>, stop: &str) {
    let mut rows = vec![
        row("REST", format!("http://{address}/v1")),
        row("socket", format!("ws://{address}/v1/ws")),
        row("data", scene.data.path().display().to_string()),
    ];
    rows.extend(more);
    rows.extend([row("logs", scene.logs.display().to_string()), row("stop", stop)]);
    say::line("");
    say::line("Rookery is up.");
    say::table(&rows);
    say::line("");
}
