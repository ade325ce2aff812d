//! Tasks in the background: waited for at the end, and started again where they must not end.

use super::{Backoff, Stop};
use crate::clock;
use metrics::counter;
use std::{fmt::Display, time::Duration};
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

/// A task that ran this long before it failed failed of something new: the pauses begin small again.
const SETTLED: Duration = Duration::from_secs(60);

/// Tasks that are to end before the process does.
#[derive(Clone, Debug, Default)]
pub struct Tasks {
    tracker: TaskTracker,
}

impl Tasks {
    pub fn spawn<F>(&self, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.tracker.spawn(task);
    }

    /// Waits until all have ended, but not past the deadline nor past the hard stop. Returns how many are left.
    pub async fn finish(&self, deadline: Duration, stop: &Stop) -> usize {
        self.tracker.close();
        tokio::select! {
            () = self.tracker.wait() => 0,
            () = tokio::time::sleep(deadline) => self.tracker.len(),
            () = stop.ended() => self.tracker.len(),
        }
    }
}

/// Keeps a task running: where it fails or panics it is made again, after a growing pause, and that is counted. Ends when
/// the task ends well, or with the soft stop, which the task itself must notice. Dropping this ends the task.
pub async fn supervise<F, E>(name: &'static str, stop: &Stop, mut make: impl FnMut() -> F)
where
    F: Future<Output = Result<(), E>> + Send + 'static,
    E: Display + Send + 'static,
{
    let mut backoff = Backoff::default();
    while !stop.is_stopped() {
        let begun = clock::monotonic();
        let why = match AbortOnDropHandle::new(tokio::spawn(make())).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            // The panic itself is in the log already.
            Err(error) if error.is_panic() => "it panicked".to_owned(),
            // The runtime ends.
            Err(_) => return,
        };
        if begun.elapsed() >= SETTLED {
            backoff.reset();
        }
        let pause = backoff.next();
        counter!("rookery_task_restarts_total", "task" => name).increment(1);
        tracing::error!(task = name, why, pause_ms = pause.as_millis() as u64, "a background task failed");
        stop.sleep(pause).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    };
    use tokio::sync::Notify;

    #[tokio::test]
    async fn a_task_that_fails_or_panics_is_made_again() {
        let (tries, stop) = (Arc::new(AtomicU32::new(0)), Stop::default());
        let counted = tries.clone();
        supervise("test", &stop, move || {
            let number = counted.fetch_add(1, Ordering::Relaxed);
            async move {
                match number {
                    0 => Err("the first fails"),
                    1 => panic!("the second panics"),
                    _ => Ok(()),
                }
            }
        })
        .await;
        assert_eq!(tries.load(Ordering::Relaxed), 3);
    }

    #[tokio::test]
    async fn after_the_stop_nothing_is_made_again() {
        let (stop, tries) = (Stop::default(), AtomicU32::new(0));
        supervise("test", &stop, || {
            tries.fetch_add(1, Ordering::Relaxed);
            stop.soft();
            async { Err("failed while stopping") }
        })
        .await;
        assert_eq!(tries.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn the_end_waits_for_tasks_but_not_for_ever() {
        let (tasks, stop, release) = (Tasks::default(), Stop::default(), Arc::new(Notify::new()));
        let held = release.clone();
        tasks.spawn(async move { held.notified().await });
        tasks.spawn(async {});
        assert_eq!(tasks.finish(Duration::from_millis(5), &stop).await, 1);
        release.notify_one();
        assert_eq!(tasks.finish(Duration::from_secs(20), &stop).await, 0);
        tasks.spawn(std::future::pending());
        stop.hard();
        assert_eq!(tasks.finish(Duration::from_secs(20), &stop).await, 1);
    }
}
