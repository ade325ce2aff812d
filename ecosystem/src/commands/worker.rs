//! `rookery worker`: one worker as a process, for the launcher or for any other supervisor.

use crate::cli;
use crate::cluster::{Role, process};
use crate::config::Surroundings;
use anyhow::Result;
use std::process::ExitCode;
use worker::Worker;

pub fn run(arguments: &cli::Worker, surroundings: &Surroundings) -> Result<ExitCode> {
    process::run(Role::Worker, arguments.launched.launcher, surroundings, async |process| {
        if process.wait_for_schema().await? {
            work(process).await;
        }
        Ok(())
    })?;
    Ok(ExitCode::SUCCESS)
}

/// At the soft stop it takes nothing more, commits what it has, hands that on and acknowledges it. A database that is away
/// just then is not waited for without end: what is not acknowledged goes to the next worker.
async fn work(process: process::Process) {
    let process::Process { config, store, bus, routing, readiness, stop } = process;
    let worker = Worker::start(store, bus, routing, &config.worker, stop.clone());
    readiness.serves(|| None);
    stop.stopped().await;
    tokio::select! {
        () = worker.join() => tracing::info!("drained"),
        () = tokio::time::sleep(config.http.drain) => tracing::warn!("the time to drain is over; the rest is left to others"),
        () = stop.ended() => {}
    }
}
