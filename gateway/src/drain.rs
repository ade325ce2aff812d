//! Leaving: readiness is off first, then every session is told when to come back, spread over the window so that those
//! who take over are not overrun; commands in flight get their answers.

use crate::{
    app::App,
    session::{Edge, Note, close::COME_BACK},
    shard::Shards,
};
use shared::{clock, lifecycle::Stop};
use std::{sync::Arc, time::Duration};

const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Sessions that one gateway sends elsewhere per second at most, as far as the window allows it.
const SESSIONS_PER_SECOND: u64 = 1000;

pub async fn run(app: &Arc<App>, shards: &Shards<Edge>, stop: &Stop) {
    app.readiness.drain();
    let window = app.config.http.drain;
    let leave = async {
        let sessions = shards.counts().connections as u64;
        let spread = Duration::from_millis(1000 * sessions / SESSIONS_PER_SECOND).min(window / 2);
        shards.note_all(move |_| Note::Reconnect { after: spread.mul_f64(fraction()) });
        while shards.counts().connections > 0 || app.batcher.unanswered() > 0 {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    let begun = clock::monotonic();
    tokio::select! {
        () = leave => tracing::info!(elapsed_us = begun.elapsed().as_micros() as u64, "drained"),
        () = tokio::time::sleep(window) => tracing::warn!("the time to drain is over; the rest is closed"),
        () = stop.ended() => {}
    }
    shards.stop(COME_BACK);
}

/// Random enough to spread sessions: 0 up to 1.
fn fraction() -> f64 {
    f64::from(uuid::Uuid::now_v7().as_u128() as u16) / f64::from(u16::MAX)
}
