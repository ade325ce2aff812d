//! The connection for everything but reading the inbox. All callers share one; it is made when somebody needs it and made
//! again when it was lost. No call waits longer than its patience, whatever becomes of Redis.

use super::{
    dial::{Connection, Dial, Failure},
    health::Health,
};
use crate::{clock, routing::RoutingAway};
use futures_util::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use metrics::{Counter, Histogram, counter, histogram};
use redis::{ErrorKind, RedisError, RedisResult, ServerErrorKind};
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::time::{timeout, timeout_at};

/// How long a call waits for its answer, the connecting included.
pub(super) const PATIENCE: Duration = Duration::from_secs(1);
/// After a connection could not be made, so long everybody hears why, and it is not tried.
const PAUSE: Duration = Duration::from_millis(100);

/// What a call is about, for measuring.
#[derive(Clone, Copy)]
pub(super) enum About {
    Lookup,
    Deliver,
    Routes,
    Presence,
    Lease,
    Limit,
}

/// Whether a call whose outcome is not known may be made once more.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Again {
    Yes,
    No,
}

type Dialing = Shared<BoxFuture<'static, Result<Connection, RoutingAway>>>;

enum Slot {
    Empty,
    Dialing(Dialing),
    Up(Connection),
    Down { until: Instant, why: RoutingAway },
}

pub(super) struct Link {
    pub dial: Dial,
    pub health: Health,
    pub patience: Duration,
    /// With how many connections there have been.
    slot: Mutex<(u64, Slot)>,
    seconds: [Histogram; 6],
    failures: Counter,
}

impl Link {
    pub fn new(dial: Dial, patience: Duration) -> Self {
        let seconds = [
            histogram!("rookery_redis_command_seconds", "kind" => "lookup"),
            histogram!("rookery_redis_command_seconds", "kind" => "deliver"),
            histogram!("rookery_redis_command_seconds", "kind" => "routes"),
            histogram!("rookery_redis_command_seconds", "kind" => "presence"),
            histogram!("rookery_redis_command_seconds", "kind" => "lease"),
            histogram!("rookery_redis_command_seconds", "kind" => "limit"),
        ];
        let failures = counter!("rookery_redis_failures_total");
        Self { dial, health: Health::new(), patience, slot: Mutex::new((0, Slot::Empty)), seconds, failures }
    }

    /// Does `work` on the connection; `true`: it was begun before, and how that ended is not known.
    pub async fn call<T, F>(
        self: &Arc<Self>,
        about: About,
        again: Again,
        work: impl Fn(Connection, bool) -> F,
    ) -> Result<T, RoutingAway>
    where
        F: Future<Output = RedisResult<T>>,
    {
        let began = clock::monotonic();
        let answer = self.tried(began + self.patience, again, work).await;
        self.seconds[about as usize].record(clock::monotonic().duration_since(began).as_secs_f64());
        answer.inspect_err(|_| self.failures.increment(1))
    }

    async fn tried<T, F>(
        self: &Arc<Self>,
        deadline: Instant,
        again: Again,
        work: impl Fn(Connection, bool) -> F,
    ) -> Result<T, RoutingAway>
    where
        F: Future<Output = RedisResult<T>>,
    {
        let mut begun = false;
        loop {
            let connection = timeout_at(deadline.into(), self.connection()).await.unwrap_or_else(|_| Err(silent()))?;
            let number = connection.number;
            // A connection that took long to make is not given up because nothing is left for the answer.
            let deadline = deadline.max(clock::monotonic() + self.patience / 2);
            let Ok(answer) = timeout_at(deadline.into(), work(connection, begun)).await else {
                self.health.failed(&Failure::Away(silent().0));
                self.forget(number);
                return Err(silent());
            };
            let error = match answer {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            if is_of_the_connection(&error) {
                self.forget(number);
                if again == Again::Yes && !std::mem::replace(&mut begun, true) {
                    continue;
                }
            }
            return Err(RoutingAway(format!("Redis: {error}")));
        }
    }

    /// The connection there is, or the one that is being made, or a new one.
    async fn connection(self: &Arc<Self>) -> Result<Connection, RoutingAway> {
        let dialing = {
            let mut slot = self.slot();
            match &slot.1 {
                Slot::Up(connection) if !connection.is_closed() => return Ok(connection.clone()),
                Slot::Down { until, why } if clock::monotonic() < *until => return Err(why.clone()),
                Slot::Dialing(dialing) => dialing.clone(),
                Slot::Empty | Slot::Up(_) | Slot::Down { .. } => {
                    // On a task of its own: whoever asked may give up, and others wait for it too.
                    let task = tokio::spawn(self.clone().connect(slot.0));
                    let dialing = task.map(|done| done.unwrap_or_else(|_| Err(silent()))).boxed().shared();
                    slot.1 = Slot::Dialing(dialing.clone());
                    dialing
                }
            }
        };
        dialing.await
    }

    async fn connect(self: Arc<Self>, number: u64) -> Result<Connection, RoutingAway> {
        let dialed = timeout(self.patience, self.dial.connect(number)).await;
        match dialed.unwrap_or_else(|_| Err(Failure::Away(silent().0))) {
            Ok(connection) => {
                self.health.connected(number > 0);
                *self.slot() = (number + 1, Slot::Up(connection.clone()));
                Ok(connection)
            }
            Err(failure) => {
                self.health.failed(&failure);
                let why = RoutingAway(format!("Redis: {failure}"));
                *self.slot() = (number, Slot::Down { until: clock::monotonic() + PAUSE, why: why.clone() });
                Err(why)
            }
        }
    }

    /// The next call makes another connection, unless somebody has already.
    fn forget(&self, number: u64) {
        let mut slot = self.slot();
        if matches!(&slot.1, Slot::Up(connection) if connection.number == number) {
            slot.1 = Slot::Empty;
        }
    }

    fn slot(&self) -> MutexGuard<'_, (u64, Slot)> {
        // Nothing is half done while it is held.
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn silent() -> RoutingAway {
    RoutingAway("Redis does not answer".to_owned())
}

/// Another connection may help: this one is broken, or leads to a server that is not, or not yet, the one written to.
fn is_of_the_connection(error: &RedisError) -> bool {
    match error.kind() {
        ErrorKind::Io | ErrorKind::Parse => true,
        ErrorKind::Server(kind) => {
            use ServerErrorKind::{BusyLoading, MasterDown, ReadOnly};
            matches!(kind, BusyLoading | MasterDown | ReadOnly)
        }
        _ => false,
    }
}
