//! Publishes one partition's batches, one after the other, as the window opens.

use super::Batcher;
use shared::{
    bus::{BusState, PublishError},
    command::CommandBatch,
    lifecycle::Backoff,
};
use std::sync::{Arc, PoisonError};

pub(super) async fn run(batcher: &Batcher, number: u16) {
    let lane = &batcher.lanes[usize::from(number)];
    let (mut backoff, mut bus) = (Backoff::default(), batcher.bus.watch());
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
                match error {
                    // A bus that is gone says when it is back: no pause is as short as that.
                    PublishError::Away | PublishError::Blocked => {
                        let _ = bus.wait_for(|status| status.state == BusState::Up).await;
                    }
                    _ => tokio::time::sleep(backoff.next()).await,
                }
            }
        }
    }
}

/// When the connection to the bus was interrupted, what was published before may have gone with it: everything
/// unanswered is published again as soon as it can be.
pub(super) async fn resend(batcher: &Batcher) {
    let mut bus = batcher.bus.watch();
    let mut interruptions = bus.borrow().interruptions;
    while bus.changed().await.is_ok() {
        let now = *bus.borrow_and_update();
        if now.state != BusState::Up || now.interruptions == interruptions {
            continue;
        }
        interruptions = now.interruptions;
        for lane in &batcher.lanes {
            let again = batcher.lock(lane).requeue_all();
            metrics::counter!("rookery_commands_resent_total", "why" => "bus").increment(again as u64);
            lane.wake.notify_one();
        }
    }
    // The bus is gone with everything else.
    std::future::pending().await
}
