//! `rookery gateway`: one gateway as a process, for the launcher or for any other supervisor.

use crate::cli;
use crate::cluster::{Role, port, process};
use crate::config::Surroundings;
use anyhow::Result;
use gateway::{Gateway, Parts};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use tokio::net::TcpListener;

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

/// Takes no connection before the schema is known to be right; those that come wait in the kernel.
async fn serve(process: process::Process, listener: TcpListener, listener_is_shared: bool) -> Result<()> {
    if !process.wait_for_schema().await? {
        return Ok(());
    }
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
