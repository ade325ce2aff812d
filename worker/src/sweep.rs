//! Gateways that died: whoever was there is announced as he is now, to those who watch. Their routes need no sweeping for
//! anything else; whoever delivers to one meets it. Every worker looks, and the routing gives each dead gateway to one of
//! them at a time, again until somebody has finished.

use crate::Shared;
use shared::{command::GatewayRef, fanout::FanoutError, lifecycle::Stop};
use std::{sync::Arc, time::Duration};

const EVERY: Duration = Duration::from_secs(1);

pub async fn run(shared: Arc<Shared>, stop: Stop) {
    while !stop.is_stopped() {
        if let Err(error) = turn(&shared).await {
            tracing::debug!(%error, "dead gateways are looked for again");
        }
        stop.sleep(EVERY).await;
    }
}

/// Killed, or cut off from the routing for too long; perhaps it has joined again since, under the next epoch.
fn say(gateway: GatewayRef, people: usize) {
    let GatewayRef { id, epoch } = gateway;
    match people {
        0 => tracing::info!(gateway.id = %id, epoch, people, "a gateway's lease has ended; nobody was on it"),
        _ => tracing::warn!(gateway.id = %id, epoch, people, "a gateway's lease has ended with people on it"),
    }
}

async fn turn(shared: &Shared) -> Result<(), FanoutError> {
    let routing = shared.fanout.routing();
    for (gateway, users) in routing.dead().await? {
        metrics::counter!("rookery_sweep_gateways_total").increment(1);
        say(gateway, users.len());
        shared.fanout.announce(&users).await?;
        routing.bury(gateway).await?;
    }
    Ok(())
}
