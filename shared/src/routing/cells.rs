//! How often is too often: a generic cell rate algorithm (GCRA). One number is kept per subject: the time at which it
//! would be served if it were made to queue. That is ahead of now by the part of the burst which is used up; subjects
//! whose time is past carry no information and are dropped first.

use crate::clock;
use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

const SHARDS: usize = 16;

/// Something counted: whom, under which rule, how much of what may be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Draw {
    pub rule: u8,
    pub subject: u128,
    /// What one costs: a minute divided by what is allowed in one.
    pub interval: Duration,
    /// What may be used up at once.
    pub burst: Duration,
    pub count: u32,
    /// Counted even beyond the burst: it has happened already.
    pub forced: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Drawn {
    /// Counted; so much of the burst is used up now.
    Taken { ahead: Duration },
    /// Not counted; after so long it would be.
    Refused { wait: Duration },
}

type Times = HashMap<(u8, u128), u64>;

/// Cells in memory, for many threads. A draw waits for nothing but a short lock.
pub struct Cells {
    hasher: RandomState,
    /// Nanoseconds since `start`.
    shards: [Mutex<Times>; SHARDS],
    shard_max: usize,
    start: Instant,
}

impl Cells {
    /// `subjects_max`: remembered at most, 48 bytes each.
    pub fn new(subjects_max: usize) -> Self {
        Self {
            hasher: RandomState::new(),
            shards: Default::default(),
            shard_max: subjects_max.div_ceil(SHARDS),
            start: clock::monotonic(),
        }
    }

    pub fn draw(&self, draw: &Draw) -> Drawn {
        self.draw_at(draw, self.now())
    }

    pub(crate) fn draw_at(&self, draw: &Draw, now: Duration) -> Drawn {
        let (now, burst) = (nanos(now), nanos(draw.burst));
        let cost = nanos(draw.interval).saturating_mul(u64::from(draw.count));
        let mut outcome = Drawn::Taken { ahead: Duration::ZERO };
        self.change(draw.rule, draw.subject, now, |time| {
            let next = time.max(now).saturating_add(cost);
            if next > now + burst && !draw.forced {
                outcome = Drawn::Refused { wait: Duration::from_nanos(next - now - burst) };
                return None;
            }
            outcome = Drawn::Taken { ahead: Duration::from_nanos(next - now) };
            Some(next)
        });
        outcome
    }

    /// Somebody else has counted too: at least so much of the burst is used up.
    pub fn raise(&self, rule: u8, subject: u128, ahead: Duration) {
        let now = nanos(self.now());
        self.change(rule, subject, now, |time| Some(time.max(now + nanos(ahead))));
    }

    fn now(&self) -> Duration {
        clock::monotonic().duration_since(self.start)
    }

    fn change(&self, rule: u8, subject: u128, now: u64, next: impl FnOnce(u64) -> Option<u64>) {
        let key = (rule, subject);
        // A panic while it was held leaves numbers behind, nothing half done.
        let mut times = self.shard(key).lock().unwrap_or_else(PoisonError::into_inner);
        let there = times.get(&key).copied();
        let Some(next) = next(there.unwrap_or(0)) else { return };
        if there.is_none() && times.len() >= self.shard_max {
            make_room(&mut times, now, self.shard_max);
        }
        times.insert(key, next);
    }

    fn shard(&self, key: (u8, u128)) -> &Mutex<Times> {
        &self.shards[self.hasher.hash_one(key) as usize % SHARDS]
    }

    /// Subjects remembered.
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().unwrap_or_else(PoisonError::into_inner).len()).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Drops who has nothing used up, and if that is not half, those who have used least: whoever is being held back stays.
fn make_room(times: &mut Times, now: u64, max: usize) {
    times.retain(|_, time| *time > now);
    let surplus = times.len().saturating_sub(max / 2);
    if surplus > 0 {
        let mut all: Vec<(u64, (u8, u128))> = times.iter().map(|(key, time)| (*time, *key)).collect();
        all.select_nth_unstable(surplus - 1);
        for (_, key) in &all[..surplus] {
            times.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Six a minute.
    fn one(subject: u128) -> Draw {
        Draw { rule: 0, subject, interval: 10 * SECOND, burst: 60 * SECOND, count: 1, forced: false }
    }

    #[test]
    fn a_burst_then_an_even_rate() {
        let cells = Cells::new(1024);
        let draw = |at: u32| cells.draw_at(&one(1), at * SECOND);
        for used in 1..=6 {
            assert_eq!(draw(0), Drawn::Taken { ahead: used * 10 * SECOND });
        }
        assert_eq!(draw(0), Drawn::Refused { wait: 10 * SECOND });
        assert_eq!(draw(9), Drawn::Refused { wait: SECOND });
        assert!(matches!(draw(10), Drawn::Taken { .. }));
        assert_eq!(draw(10), Drawn::Refused { wait: 10 * SECOND });
    }

    #[test]
    fn what_has_happened_is_counted_beyond_the_burst() {
        let cells = Cells::new(1024);
        let forced = Draw { count: 9, forced: true, ..one(1) };
        assert_eq!(cells.draw_at(&forced, Duration::ZERO), Drawn::Taken { ahead: 90 * SECOND });
        assert_eq!(cells.draw_at(&one(1), Duration::ZERO), Drawn::Refused { wait: 40 * SECOND });
    }

    #[test]
    fn rules_and_subjects_do_not_touch_each_other() {
        let cells = Cells::new(1024);
        cells.draw_at(&Draw { count: 6, ..one(1) }, Duration::ZERO);
        for other in [one(2), Draw { rule: 1, ..one(1) }] {
            assert!(matches!(cells.draw_at(&other, Duration::ZERO), Drawn::Taken { .. }));
        }
    }

    #[test]
    fn what_others_have_counted_only_raises() {
        let cells = Cells::new(1024);
        cells.raise(0, 1, 60 * SECOND);
        cells.raise(0, 1, SECOND);
        assert!(matches!(cells.draw(&one(1)), Drawn::Refused { .. }));
    }

    #[test]
    fn memory_is_bounded_and_the_held_back_stay_held_back() {
        let cells = Cells::new(1024);
        cells.draw_at(&Draw { count: 6, ..one(0) }, Duration::ZERO);
        for subject in 1..20_000 {
            cells.draw_at(&one(subject), Duration::ZERO);
        }
        assert!(cells.len() <= 1024 + SHARDS);
        assert!(matches!(cells.draw_at(&one(0), Duration::ZERO), Drawn::Refused { .. }));
    }
}
