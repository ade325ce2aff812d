//! Waiting in line: after the loss of a gateway everybody catches up at once, and whoever only wants to send must not
//! wait behind all of them for PostgreSQL.

use shared::{
    domain::COMMAND_DEADLINE,
    reply::{Code, Refusal},
};
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::{Semaphore, SemaphorePermit};

/// At once, per gateway: enough to keep PostgreSQL busy, and few enough that whoever appends is one of few there, too.
const AT_ONCE: usize = 2;
/// In line, at most: more than a gateway has sockets, each of which waits for one.
const WAITING_MAX: usize = 20_000;
const RETRY_SECONDS: u32 = 2;

pub struct Line {
    turns: Semaphore,
    waiting: AtomicUsize,
}

impl Default for Line {
    fn default() -> Self {
        Self { turns: Semaphore::new(AT_ONCE), waiting: AtomicUsize::new(0) }
    }
}

/// Counts whoever waits, also one who gives up.
struct Place<'a>(&'a AtomicUsize);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
        metrics::gauge!("rookery_syncs_waiting").decrement(1);
    }
}

impl Line {
    /// A turn, held until it is dropped. Too many in line, or too long: nothing was done.
    pub async fn wait(&self) -> Result<SemaphorePermit<'_>, Refusal> {
        metrics::gauge!("rookery_syncs_waiting").increment(1);
        let before = self.waiting.fetch_add(1, Ordering::Relaxed);
        let place = Place(&self.waiting);
        if before >= WAITING_MAX {
            return Err(overloaded());
        }
        let turn = tokio::time::timeout(COMMAND_DEADLINE, self.turns.acquire()).await;
        drop(place);
        turn.map_err(|_| overloaded())?.map_err(|_| overloaded())
    }
}

fn overloaded() -> Refusal {
    metrics::counter!("rookery_syncs_refused_total").increment(1);
    Refusal::new(Code::Overloaded, "too many are catching up at once").retry_after(RETRY_SECONDS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    #[tokio::test]
    async fn a_few_at_once_and_the_others_wait() {
        let line = Line::default();
        let mut turns = vec![];
        for _ in 0..AT_ONCE {
            turns.push(line.wait().await.expect("there is room"));
        }
        let mut next = Box::pin(line.wait());
        assert!(next.as_mut().now_or_never().is_none(), "one more waits");
        assert_eq!(line.waiting.load(Ordering::Relaxed), 1);
        turns.pop();
        assert!(next.await.is_ok());
        assert_eq!(line.waiting.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn the_line_is_bounded() {
        let line = Line::default();
        line.waiting.store(WAITING_MAX, Ordering::Relaxed);
        let refusal = line.wait().await.expect_err("full");
        assert_eq!((refusal.code, refusal.retry_after), (Code::Overloaded, Some(RETRY_SECONDS)));
        assert_eq!(line.waiting.load(Ordering::Relaxed), WAITING_MAX);
    }
}
