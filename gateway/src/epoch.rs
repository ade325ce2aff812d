//! The epoch within which clients' positions are valid, known without a query: read at start, looked at every few
//! seconds. Another one means that the database was restored, and everybody reads everything anew.

use crate::app::App;
use shared::lifecycle::{Backoff, Stop};
use std::{
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

const LOOK_EVERY: Duration = Duration::from_secs(5);

#[derive(Default)]
pub struct Epoch {
    known: RwLock<Option<Arc<str>>>,
}

impl Epoch {
    /// None until PostgreSQL was reached for the first time.
    pub fn get(&self) -> Option<Arc<str>> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// True when it is another than before.
    pub fn set(&self, epoch: &str) -> bool {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let changed = known.as_deref().is_some_and(|before| before != epoch);
        if known.as_deref() != Some(epoch) {
            *known = Some(epoch.into());
        }
        changed
    }
}

pub async fn run(app: Arc<App>, stop: Stop) {
    let mut backoff = Backoff::default();
    while !stop.is_stopped() {
        let pause = match app.store.get_epoch().await {
            Ok(epoch) => {
                if app.epoch.set(&epoch) {
                    tracing::warn!(epoch, "the database has another epoch: all sessions read everything anew");
                    app.fanout.audiences().forget_all();
                    app.hub.begin_anew();
                }
                backoff.reset();
                LOOK_EVERY
            }
            Err(error) => {
                tracing::debug!(%error, "the epoch cannot be read");
                backoff.next()
            }
        };
        stop.sleep(pause).await;
    }
}
