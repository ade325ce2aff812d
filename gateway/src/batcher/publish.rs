//! Publishes one partition's batches, one after the other, as the window opens.

use super::Batcher;
use shared::{bus::PublishError, command::CommandBatch, lifecycle::Backoff};
use std::sync::{Arc, PoisonError};

pub(super) async fn run(batcher: &Batcher, number: u16) {
    let lane = &batcher.lanes[usize::from(number)];
    let mut backoff = Backoff::default();
    loop {
        let next = match *batcher.me.read().unwrap_or_else(PoisonError::into_inner) {
            Some(me) => {
                batcher.lock(lane).next_batch(batcher.window, shared::clock::monotonic()).map(|batch| (me, batch))
            }
            None => None,
        };
        let Some((from, (batch, commands, ttl))) = next else {
            lane.wake.notified().await;
            continue;
        };
        metrics::histogram!("rookery_batch_commands").record(commands.len() as f64);
        match batcher.bus.publish(number, Arc::new(CommandBatch { from, commands }), ttl).await {
            Ok(()) => backoff.reset(),
            Err(error) => {
                metrics::counter!("rookery_commands_resent_total", "why" => "bus").increment(1);
                tracing::debug!(%error, partition = number, "a batch was not taken; trying again");
                batcher.lock(lane).requeue(batch, error != PublishError::Broken);
                tokio::time::sleep(backoff.next()).await;
            }
        }
    }
}
