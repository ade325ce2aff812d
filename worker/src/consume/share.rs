//! Sharing out the partitions among the workers, without a word between them: each has a place at every queue, so the
//! queue itself says how many there are. Whoever gets the commands of more than his share gives up one place after the
//! other, and takes the last one in its line. Nothing else depends on this: it only spreads the work.

use crate::Shared;
use shared::{
    bus::BusLost,
    lifecycle::{Stop, jittered},
};
use std::{sync::Arc, time::Duration};

const EVERY: Duration = Duration::from_secs(2);

pub async fn run(shared: Arc<Shared>, stop: Stop) {
    loop {
        // Not in step with the others, who would give to each other what both want to be rid of.
        stop.sleep(jittered(EVERY)).await;
        if stop.is_stopped() {
            return;
        }
        match workers(&shared).await {
            Ok(workers) => {
                let share = usize::from(shared.places.partitions()).div_ceil(workers.max(1));
                if let Some(partition) = shared.places.give_one_up(share) {
                    tracing::debug!(partition, workers, "a partition is given up");
                }
            }
            Err(lost) => tracing::debug!(error = %lost, "the queues cannot be seen"),
        }
        metrics::gauge!("rookery_partitions_held").set(shared.places.active().len() as f64);
    }
}

/// How many workers there are. Each has a place at every queue, but for moments: where one has just been given up there
/// may be one less, or still one more. So the one in the middle counts.
async fn workers(shared: &Shared) -> Result<usize, BusLost> {
    let mut consumers = Vec::with_capacity(usize::from(shared.places.partitions()));
    for partition in 0..shared.places.partitions() {
        let queue = shared.bus.queue(partition).await?;
        let label = partition.to_string();
        metrics::gauge!("rookery_bus_waiting_batches", "partition" => label.clone()).set(queue.waiting as f64);
        metrics::gauge!("rookery_bus_consumers", "partition" => label).set(queue.consumers as f64);
        consumers.push(queue.consumers);
    }
    consumers.sort_unstable();
    Ok(consumers.get(consumers.len().saturating_sub(1) / 2).copied().unwrap_or_default())
}
