//! The relay: hands on what a worker committed and could not hand on itself, because it died, or because Redis or the
//! bus was away. Never the events themselves, whose moment has passed: sockets are told `resync` for the conversation,
//! the bus gets the pointers.

use crate::Shared;
use shared::{
    bus::PublishError,
    event::DurableEvent,
    fanout::FanoutError,
    lifecycle::{Backoff, Stop},
    store::{StoreError, outbox::OutboxRow},
};
use std::{sync::Arc, time::Duration};
use thiserror::Error;

const EVERY: Duration = Duration::from_millis(500);
/// A living worker's row that is older than this is taken over too.
const OVERDUE_SECONDS: f64 = 5.0;

#[derive(Debug, Error)]
enum RelayError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Fanout(#[from] FanoutError),
    #[error(transparent)]
    Bus(#[from] PublishError),
}

pub async fn run(shared: Arc<Shared>, stop: Stop) {
    let mut backoff = Backoff::default();
    while !stop.is_stopped() {
        let pause = match turn(&shared).await {
            Ok(()) => {
                backoff.reset();
                EVERY
            }
            Err(error) => {
                tracing::debug!(%error, "the relay waits");
                backoff.next().max(EVERY)
            }
        };
        stop.sleep(pause).await;
    }
}

async fn turn(shared: &Shared) -> Result<(), RelayError> {
    let done = shared.handed_on.take();
    if !done.is_empty()
        && let Err(error) = shared.store.delete_outbox(&done).await
    {
        shared.handed_on.give_back(done);
        return Err(error.into());
    }
    loop {
        let rows = shared.store.update_outbox_owner(i64::from(shared.key), OVERDUE_SECONDS).await?;
        if rows.is_empty() {
            return Ok(());
        }
        metrics::counter!("rookery_relay_rows_total").increment(rows.len() as u64);
        for row in rows {
            hand_on(shared, row).await?;
        }
    }
}

/// All of a row, or an error and it comes again: each part is harmless when repeated.
async fn hand_on(shared: &Shared, row: OutboxRow) -> Result<(), RelayError> {
    for event in &row.events {
        match event {
            DurableEvent::Conversation { id, to, .. } => shared.fanout.resync(*id, *to).await?,
            DurableEvent::User { id, .. } => shared.fanout.resync_users(&[*id], None).await?,
            DurableEvent::SessionsEnded(sessions) => shared.fanout.sessions_ended(sessions.as_slice().into()).await?,
        }
    }
    shared.bus.publish_events(row.events).await?;
    shared.handed_on.add(row.id);
    Ok(())
}
