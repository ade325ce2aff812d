//! `rookery gateway`: one gateway as a process, for the launcher or for any other supervisor.

use crate::cli;
use crate::cluster::{Role, port, process};
use crate::config::Surroundings;
use anyhow::{Context, Result};
use gateway::{Gateway, Parts, starting};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub fn run(arguments: &cli::Gateway, surroundings: &Surroundings) -> Result<ExitCode> {
    let mut surroundings = surroundings.clone();
    if let Some(port) = arguments.port {
        surroundings.settings.set("PORT", port.to_string());
    }
    process::run(Role::Gateway, arguments.launched.launcher, &surroundings, async |process| {
        // Before anything is waited for: a port that is taken is said at once.
        let address = SocketAddr::from((process.config.http.host, process.config.http.port));
        let listener = port::open(arguments.listener, address)?;
        serve(process, listener, arguments.listener == port::Source::Stdin).await
    })?;
    Ok(ExitCode::SUCCESS)
}

async fn serve(process: process::Process, listener: TcpListener, listener_is_shared: bool) -> Result<()> {
    let waited = if listener_is_shared {
        // Others accept from it; where there are none yet, connections wait in the kernel.
        process.wait_for_schema().await?.then_some(listener)
    } else {
        answer_until_schema(&process, listener).await?
    };
    let Some(listener) = waited else { return Ok(()) };
    let process::Process { config, store, bus, routing, readiness, stop } = process;
    let metrics: Option<gateway::app::Metrics> = Some(Box::new(shared::telemetry::metrics));
    let parts = Parts { config, store, bus, routing, listener, listener_is_shared, metrics };
    let gateway = Gateway::start(parts, stop.clone())?;
    tracing::info!(address = %gateway.address, "listening");
    let app = gateway.app.clone();
    readiness.serves(move || {
        let joined = app.readiness.routing.load(Ordering::Relaxed) && app.epoch.get().is_some();
        (!joined).then_some("it is joining the others")
    });
    stop.stopped().await;
    gateway.drain().await;
    Ok(())
}

/// Nothing is served before the schema is known to be right; until then whoever asks is told so. None: told to stop before.
async fn answer_until_schema(process: &process::Process, listener: TcpListener) -> Result<Option<TcpListener>> {
    const WHAT: &str = "cannot use the listening socket";
    let listener = listener.into_std().context(WHAT)?;
    let meanwhile = TcpListener::from_std(listener.try_clone().context(WHAT)?).context(WHAT)?;
    let over = CancellationToken::new();
    let _over = over.clone().drop_guard();
    tokio::spawn(starting::serve(meanwhile, process.config.edge.connections, over));
    let is_there = process.wait_for_schema().await?;
    Ok(if is_there { Some(TcpListener::from_std(listener).context(WHAT)?) } else { None })
}
