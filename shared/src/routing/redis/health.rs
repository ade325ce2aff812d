//! Whether Redis can be used, as this process sees it: said once when it cannot and once when it can again.

use super::dial::Failure;
use metrics::{Counter, Gauge, counter, gauge};
use std::sync::{Mutex, PoisonError};

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    NotTried,
    Up,
    Away,
    Unfit,
}

pub(super) struct Health {
    state: Mutex<State>,
    up: Gauge,
    reconnects: Counter,
}

impl Health {
    pub fn new() -> Self {
        let up = gauge!("rookery_redis_up");
        up.set(0.0);
        Self { state: Mutex::new(State::NotTried), up, reconnects: counter!("rookery_redis_reconnects_total") }
    }

    pub fn failed(&self, failure: &Failure) {
        self.up.set(0.0);
        let now = if matches!(failure, Failure::Away(_)) { State::Away } else { State::Unfit };
        if self.become_(now) != now {
            match failure {
                Failure::Away(error) => tracing::warn!(error, "Redis is away; it is tried again"),
                Failure::Unfit(error) => tracing::error!(error, "Redis cannot be used as it is; it is tried again"),
            }
        }
    }

    /// `again`: in place of an earlier connection.
    pub fn connected(&self, again: bool) {
        self.up.set(1.0);
        if again {
            self.reconnects.increment(1);
        }
        if matches!(self.become_(State::Up), State::Away | State::Unfit) {
            tracing::info!("Redis is back");
        }
    }

    /// The state before.
    fn become_(&self, now: State) -> State {
        std::mem::replace(&mut *self.state.lock().unwrap_or_else(PoisonError::into_inner), now)
    }
}
