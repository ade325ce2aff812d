//! What is kept for a time and then forgotten: replies of applied commands, and old entries of the users' streams.
//! Deleting twice is harmless, so any worker does it. Tokens and sessions are cleaned up at their hours, by one worker.

use crate::Shared;
use shared::{
    clock,
    domain::{CleanUp, EXECUTED_KEPT, USER_CHANGES_KEPT},
    lifecycle::Stop,
    store::clean_up::Cleaned,
};
use std::{sync::Arc, time::Duration};

const EVERY: Duration = Duration::from_secs(300);
/// Between two steps of a clean-up, so that whoever sends does not wait behind all of them.
const STEP_PAUSE: Duration = Duration::from_millis(50);
const LAG_EVERY: Duration = Duration::from_secs(5);

pub async fn run(shared: Arc<Shared>, stop: Stop) {
    let mut swept = None;
    while !stop.is_stopped() {
        if swept.is_none_or(|at: std::time::Instant| at.elapsed() >= EVERY) {
            sweep(&shared).await;
            clean_up(&shared, &stop).await;
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

/// What is due. Where the database is away, or somebody else is at it, the next round sees to it.
async fn clean_up(shared: &Shared, stop: &Stop) {
    let Ok(tasks) = shared.store.list_clean_ups().await else { return };
    for (task, done_at, is_due) in tasks {
        tell(task, done_at);
        if is_due {
            clean_up_one(shared, stop, task).await;
        }
    }
}

async fn clean_up_one(shared: &Shared, stop: &Stop, task: CleanUp) {
    let mut all = 0;
    while !stop.is_stopped() {
        let cleaned = match shared.store.clean_up(task).await {
            Ok(cleaned) => cleaned,
            Err(error) => return tracing::warn!(task = task.name(), %error, "a clean-up failed; it is tried again"),
        };
        let rows = match cleaned {
            Cleaned::Busy | Cleaned::NotDue => return,
            Cleaned::Step(rows) | Cleaned::Done(rows) => rows,
        };
        metrics::counter!("rookery_clean_up_rows_total", "task" => task.name()).increment(rows);
        all += rows;
        if matches!(cleaned, Cleaned::Done(_)) {
            tell(task, clock::now());
            return tracing::info!(task = task.name(), rows = all, "cleaned up");
        }
        stop.sleep(STEP_PAUSE).await;
    }
}

fn tell(task: CleanUp, done_at: chrono::DateTime<chrono::Utc>) {
    let seconds = done_at.timestamp() as f64;
    metrics::gauge!("rookery_clean_up_done_timestamp_seconds", "task" => task.name()).set(seconds);
}
