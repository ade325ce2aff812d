//! How a process's parts end and try again: a stop in two stages, the signals that cause it, tasks that are waited for
//! or started again, and waiting that grows.

mod signals;
mod tasks;

pub use signals::{EXIT_INTERRUPTED, listen};
pub use tasks::{Tasks, supervise};

use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// A stop in two stages. *Soft*: take nothing new, finish what is in flight. *Hard*: the deadline has passed or a
/// second signal came; end now. Everything that waits, waits through this.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    soft: CancellationToken,
    hard: CancellationToken,
}

impl Stop {
    pub fn soft(&self) {
        self.soft.cancel();
    }

    pub fn hard(&self) {
        self.soft.cancel();
        self.hard.cancel();
    }

    pub fn is_stopped(&self) -> bool {
        self.soft.is_cancelled()
    }

    /// At the hard stop, or after it.
    pub fn is_ended(&self) -> bool {
        self.hard.is_cancelled()
    }

    /// Resolves at the soft stop.
    pub async fn stopped(&self) {
        self.soft.cancelled().await;
    }

    /// The soft stop for those who take a token.
    pub fn soft_token(&self) -> CancellationToken {
        self.soft.clone()
    }

    /// Resolves at the hard stop.
    pub async fn ended(&self) {
        self.hard.cancelled().await;
    }

    /// Sleeps, but not past the soft stop.
    pub async fn sleep(&self, duration: Duration) {
        tokio::select! {
            () = tokio::time::sleep(duration) => {}
            () = self.soft.cancelled() => {}
        }
    }
}

/// Growing pauses between tries: doubling from 100 ms to 5 s, each cut by up to a half at random so that many who wait
/// for the same thing do not return together.
#[derive(Clone, Debug, Default)]
pub struct Backoff {
    tries: u32,
}

impl Backoff {
    pub fn reset(&mut self) {
        self.tries = 0;
    }

    /// The next pause.
    #[expect(clippy::should_implement_trait, reason = "a pause, not an iterator")]
    pub fn next(&mut self) -> Duration {
        let full = Duration::from_millis(100 << self.tries.min(6)).min(Duration::from_secs(5));
        self.tries = self.tries.saturating_add(1);
        full.mul_f64(0.5 + random() / 2.0)
    }
}

/// So long, or up to a quarter more or less at random: for those who must not do something in step.
pub fn jittered(duration: Duration) -> Duration {
    duration.mul_f64(0.75 + random() / 2.0)
}

/// From 0 up to 1.
fn random() -> f64 {
    f64::from((uuid::Uuid::now_v7().as_u128() & 0xffff) as u32) / 65_536.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_bound_and_differ() {
        let mut backoff = Backoff::default();
        let pauses: Vec<Duration> = (0..40).map(|_| backoff.next()).collect();
        for (number, pause) in pauses.iter().enumerate() {
            let full = Duration::from_millis(100 << number.min(6)).min(Duration::from_secs(5));
            assert!(*pause >= full / 2 && *pause <= full, "{number}: {pause:?}");
        }
        assert!(pauses[10..].windows(2).any(|pair| pair[0] != pair[1]));
        backoff.reset();
        assert!(backoff.next() <= Duration::from_millis(100));
    }

    #[tokio::test]
    async fn a_hard_stop_is_a_soft_one_too() {
        let stop = Stop::default();
        assert!(!stop.is_stopped());
        stop.hard();
        stop.stopped().await;
        stop.ended().await;
        // And whoever sleeps wakes up.
        stop.sleep(Duration::from_secs(3600)).await;
    }
}
