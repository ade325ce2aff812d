//! What may be used once, until it is over anyway.

use crate::{clock, routing::RoutingAway};
use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Remembered at most, 2 MiB: 2,000 a second for thirty seconds. Beyond it nothing more can be used.
pub(super) const USED_MAX: usize = 65_536;

#[derive(Default)]
pub(super) struct Once {
    used: Mutex<HashMap<[u8; 16], Instant>>,
}

impl Once {
    pub fn take(&self, key: [u8; 16], ttl: Duration) -> Result<bool, RoutingAway> {
        self.take_at(key, ttl, clock::monotonic())
    }

    fn take_at(&self, key: [u8; 16], ttl: Duration, now: Instant) -> Result<bool, RoutingAway> {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        if used.len() >= USED_MAX {
            used.retain(|_, over| *over > now);
        }
        if used.get(&key).is_some_and(|over| *over > now) {
            return Ok(false);
        }
        if used.len() >= USED_MAX {
            return Err(RoutingAway("too much was used at once".to_owned()));
        }
        used.insert(key, now + ttl);
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_used_is_remembered_within_bounds() {
        let (once, start, ttl) = (Once::default(), clock::monotonic(), Duration::from_secs(30));
        for number in 0..USED_MAX as u128 {
            assert_eq!(once.take_at(number.to_be_bytes(), ttl, start), Ok(true));
        }
        assert_eq!(once.take_at([0; 16], ttl, start), Ok(false));
        assert!(once.take_at([9; 16], ttl, start).is_err());
        assert_eq!(once.take_at([9; 16], ttl, start + ttl), Ok(true));
        assert_eq!(once.take_at([0; 16], ttl, start + ttl), Ok(true));
    }
}
