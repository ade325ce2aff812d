//! This worker's proof of life: an advisory lock of PostgreSQL, under whose key its outbox rows stand. While it is held
//! the other workers' relays leave these rows alone; once it is not, they take them over at once.

use crate::{Shared, in_time};
use shared::{
    lifecycle::{Backoff, Stop},
    store::outbox::WorkerLock,
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicI32, Ordering},
    },
    time::Duration,
};
use tokio::sync::watch;

/// PostgreSQL is asked this often at least while the lock is not held.
const PAUSE_MAX: Duration = Duration::from_millis(500);
const CONNECT_MAX: Duration = Duration::from_secs(5);

#[derive(Default)]
pub struct Life {
    key: AtomicI32,
    held: watch::Sender<bool>,
}

impl Life {
    /// Whose this worker's rows are.
    pub fn key(&self) -> i32 {
        self.key.load(Ordering::Relaxed)
    }

    /// Waits until the lock is held, for so long at most: without it nothing breaks, but whatever is stored may be
    /// relayed by others before it is handed on.
    pub async fn wait(&self, at_most: Duration) {
        let _ = tokio::time::timeout(at_most, self.held.subscribe().wait_for(|held| *held)).await;
    }
}

/// A positive number that no living worker has: random is enough, a collision only delays a takeover by seconds.
fn new_key() -> i32 {
    let id = uuid::Uuid::now_v7().as_u128();
    (id as u32 & 0x7fff_ffff) as i32
}

/// Holds the lock, anew after every loss of its connection. Each time under another key: a server that has not noticed
/// that the old connection is dead goes on holding the old one, for hours where packets are dropped silently.
pub async fn hold(shared: Arc<Shared>, stop: Stop) {
    let mut backoff = Backoff::default();
    while !stop.is_stopped() {
        let key = new_key();
        match in_time(CONNECT_MAX, WorkerLock::acquire(&shared.store, key)).await {
            Ok(mut lock) => {
                backoff.reset();
                shared.life.key.store(key, Ordering::Relaxed);
                shared.life.held.send_replace(true);
                tokio::select! {
                    () = lock.closed() => {}
                    () = stop.stopped() => {}
                }
                shared.life.held.send_replace(false);
            }
            Err(error) => {
                tracing::debug!(%error, "the worker's lock is not held");
                stop.sleep(backoff.next().min(PAUSE_MAX)).await;
            }
        }
    }
}
