//! What is kept for a time and then forgotten: replies of applied commands, and old entries of the users' streams.
//! Deleting twice is harmless, so any worker does it.

use crate::Shared;
use shared::{
    domain::{EXECUTED_KEPT, USER_CHANGES_KEPT},
    lifecycle::Stop,
};
use std::{sync::Arc, time::Duration};

const EVERY: Duration = Duration::from_secs(300);
const LAG_EVERY: Duration = Duration::from_secs(5);

pub async fn run(shared: Arc<Shared>, stop: Stop) {
    let mut swept = None;
    while !stop.is_stopped() {
        if swept.is_none_or(|at: std::time::Instant| at.elapsed() >= EVERY) {
            sweep(&shared).await;
            swept = Some(shared::clock::monotonic());
        }
        if let Ok((rows, oldest)) = shared.store.get_outbox_lag().await {
            metrics::gauge!("rookery_outbox_rows").set(rows as f64);
            metrics::gauge!("rookery_outbox_oldest_seconds").set(oldest);
        }
        stop.sleep(LAG_EVERY).await;
    }
}

async fn sweep(shared: &Shared) {
    let executed = shared.store.delete_executed(EXECUTED_KEPT.as_secs_f64()).await;
    let changes = shared.store.delete_user_changes(USER_CHANGES_KEPT.as_secs_f64()).await;
    if let (Ok(executed), Ok(changes)) = (executed, changes) {
        tracing::debug!(executed, changes, "forgotten");
    }
}
