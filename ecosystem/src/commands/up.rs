//! `rookery up`: claims the data directory, brings the database, and hands over to `crate::up` until told to stop. What is
//! checked comes first, what is made comes after, so that a bad setting leaves nothing behind.

use super::{data_dir, log_dir, read_config, secret_is_given, with_stand_ins};
use crate::cli;
use crate::config::Surroundings;
use crate::data_dir::{Claim, DataDir};
use crate::services::postgres::{Options, PrivatePostgres};
use crate::{BadConfiguration, database, say};
use anyhow::{Context, Result, bail};
use shared::config::{Config, Environment};
use shared::lifecycle::Stop;
use shared::telemetry;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};

/// The exit code of a program that Ctrl-C has ended.
const INTERRUPTED: i32 = 130;

pub fn run(arguments: &cli::Up, surroundings: &Surroundings) -> Result<ExitCode> {
    let mut settings = surroundings.settings.clone();
    if let Some(port) = arguments.port {
        settings.set("PORT", port.to_string());
    }
    let logs = log_dir(&arguments.place, surroundings);
    settings.set("LOG_DIR", logs.to_string_lossy());
    let config = read_config(&with_stand_ins(&settings))?;

    let data = data_dir(&arguments.place, surroundings);
    let claim = data.claim()?;
    port_is_free(&config)?;
    // Before the first metric and the first line; dropped last, when everything has been written.
    let _telemetry = telemetry::start(&config.log).map_err(|error| BadConfiguration(vec![error]))?;
    if !secret_is_given(&settings) {
        let made = shared::config::read_env_file(&data.secrets()?)?;
        made.iter().for_each(|(name, value)| settings.set(name, value));
    }
    let postgres = match database::is_given(&settings) {
        true => None,
        false => Some(private_postgres(&data, &mut settings, surroundings)?),
    };
    let config = read_config(&settings)?;
    let scene = Scene { data, logs, database: postgres.as_ref().map(PrivatePostgres::cluster) };
    let ended = serve(config, claim, scene);
    // After the last connection: the server waits for none.
    drop(postgres);
    ended?;
    say::progress("stopped; the data stays");
    Ok(ExitCode::SUCCESS)
}

/// For a friendly word before a second is spent on the database; the listener that counts is the gateway's.
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

fn private_postgres(
    data: &DataDir,
    settings: &mut Environment,
    surroundings: &Surroundings,
) -> Result<PrivatePostgres> {
    let postgres = database::start_private(data, surroundings, &Options::default())?;
    if postgres.created() {
        say::progress(format!("made a database in {}", postgres.cluster().display()));
    }
    settings.set("DATABASE_URL", postgres.url());
    Ok(postgres)
}

/// What the banner tells.
struct Scene {
    data: DataDir,
    logs: PathBuf,
    /// `None`: somebody else's, by DATABASE_URL.
    database: Option<PathBuf>,
}

fn serve(config: Config, mut claim: Claim, scene: Scene) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start threads")?;
    runtime.block_on(async {
        let stop = Stop::default();
        tokio::spawn(stop_on_signal(stop.clone())?);
        let ready = |address: SocketAddr| {
            let address = format!("http://{address}");
            if let Err(error) = claim.announce(Some(address.clone())) {
                tracing::warn!(error = format!("{error:#}"), "`rookery status` will not find this server");
            }
            banner(&address, &scene);
        };
        crate::up::run(config, ready, stop).await
    })
}

fn banner(address: &str, scene: &Scene) {
    let socket = address.replacen("http", "ws", 1);
    let database = scene.database.as_ref().map_or("yours (DATABASE_URL)".to_owned(), |path| path.display().to_string());
    let row = |name: &str, value: String| vec![format!("  {name}"), value];
    say::line("");
    say::line("Rookery is up.");
    say::table(&[
        row("REST", format!("{address}/v1")),
        row("socket", format!("{socket}/v1/ws")),
        row("data", scene.data.path().display().to_string()),
        row("database", database),
        row("logs", scene.logs.display().to_string()),
        row("stop", "Ctrl-C, or `rookery down`".to_owned()),
    ]);
    say::line("");
}

/// The first signal asks everybody to leave in order, the second ends the program; the private database then gets its
/// shutdown from the kernel.
fn stop_on_signal(stop: Stop) -> Result<impl Future<Output = ()>> {
    let listen = |kind| signal(kind).context("cannot listen for signals");
    let (mut interrupt, mut terminate, mut hang_up) =
        (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?, listen(SignalKind::hangup())?);
    Ok(async move {
        loop {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
                _ = hang_up.recv() => {}
            }
            if stop.is_stopped() {
                std::process::exit(INTERRUPTED);
            }
            say::progress("stopping; once more ends it at once");
            stop.soft();
        }
    })
}
