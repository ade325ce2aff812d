//! One timing wheel per shard: for every connection the tick at which it is next to be looked at. What is due then is
//! the connection's own business (`conn::Link::due`). Pure: ticks come from outside.
//!
//! A timer costs 12 bytes beside the slab and no allocation. One that lies beyond a turn of the wheel is met once per
//! turn and left where it is.

use std::time::Duration;

pub(super) const TICK: Duration = Duration::from_millis(100);
/// Never due.
pub(super) const NEVER: u32 = u32::MAX;
/// Of a turn: 51 s, so that heartbeats are met once.
const BUCKETS: usize = 512;
const NONE: u32 = u32::MAX;

/// Ticks until `duration` has surely passed: one more than fit, because the current one has begun.
pub(super) fn ticks(duration: Duration) -> u32 {
    let ticks = duration.as_nanos().div_ceil(TICK.as_nanos()) + 1;
    u32::try_from(ticks).unwrap_or(NEVER / 2).min(NEVER / 2)
}

#[derive(Clone, Copy)]
struct Timer {
    due: u32,
    previous: u32,
    next: u32,
}

const OFF: Timer = Timer { due: NEVER, previous: NONE, next: NONE };

pub(super) struct Wheel {
    timers: Vec<Timer>,
    heads: [u32; BUCKETS],
    /// One bit per bucket that holds timers.
    taken: [u64; BUCKETS / 64],
    /// All buckets up to this tick have been looked at.
    turned: u32,
}

impl Wheel {
    pub(super) fn new() -> Self {
        Wheel { timers: Vec::new(), heads: [NONE; BUCKETS], taken: [0; BUCKETS / 64], turned: 0 }
    }

    /// Looks at the slot at `due` or, if it is already to be looked at earlier, then; who is looked at too early says so.
    pub(super) fn no_later_than(&mut self, slot: u32, due: u32) {
        if slot as usize >= self.timers.len() {
            self.timers.resize(slot as usize + 1, OFF);
        }
        if due < self.timers[slot as usize].due {
            self.remove(slot);
            self.link(slot, due.max(self.turned + 1));
        }
    }

    pub(super) fn remove(&mut self, slot: u32) {
        let Some(timer) = self.timers.get_mut(slot as usize) else { return };
        let Timer { due, previous, next } = std::mem::replace(timer, OFF);
        if due == NEVER {
            return;
        }
        if next != NONE {
            self.timers[next as usize].previous = previous;
        }
        if previous != NONE {
            self.timers[previous as usize].next = next;
            return;
        }
        let bucket = due as usize % BUCKETS;
        self.heads[bucket] = next;
        if next == NONE {
            self.taken[bucket / 64] &= !(1 << (bucket % 64));
        }
    }

    /// Takes out every slot due up to `now`.
    pub(super) fn expire(&mut self, now: u32, due: &mut Vec<u32>) {
        let first = self.turned + 1;
        // After a long halt one turn meets every bucket.
        let last = now.min(self.turned.saturating_add(BUCKETS as u32));
        for tick in first..=last {
            let mut slot = self.heads[tick as usize % BUCKETS];
            while slot != NONE {
                let timer = self.timers[slot as usize];
                if timer.due <= now {
                    self.remove(slot);
                    due.push(slot);
                }
                slot = timer.next;
            }
        }
        self.turned = now.max(self.turned);
    }

    /// The first tick at which there may be something to expire; looks one turn ahead.
    pub(super) fn next(&self) -> Option<u32> {
        (self.turned + 1..=self.turned + BUCKETS as u32).find(|tick| {
            let bucket = *tick as usize % BUCKETS;
            self.taken[bucket / 64] >> (bucket % 64) & 1 == 1
        })
    }

    fn link(&mut self, slot: u32, due: u32) {
        let bucket = due as usize % BUCKETS;
        let next = std::mem::replace(&mut self.heads[bucket], slot);
        if next != NONE {
            self.timers[next as usize].previous = slot;
        }
        self.timers[slot as usize] = Timer { due, previous: NONE, next };
        self.taken[bucket / 64] |= 1 << (bucket % 64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn expired(wheel: &mut Wheel, now: u32) -> Vec<u32> {
        let mut due = Vec::new();
        wheel.expire(now, &mut due);
        due.sort_unstable();
        due
    }

    #[test]
    fn durations_round_up() {
        assert_eq!(ticks(Duration::ZERO), 1);
        assert_eq!(ticks(Duration::from_millis(100)), 2);
        assert_eq!(ticks(Duration::from_millis(101)), 3);
        assert_eq!(ticks(Duration::MAX), NEVER / 2);
    }

    #[test]
    fn beyond_one_turn_waits_its_time() {
        let mut wheel = Wheel::new();
        wheel.no_later_than(7, 2_000);
        assert!(expired(&mut wheel, 1_999).is_empty());
        assert_eq!(expired(&mut wheel, 2_000), [7]);
        assert_eq!(wheel.next(), None);
    }

    #[test]
    fn an_earlier_time_wins_and_a_past_one_is_next() {
        let mut wheel = Wheel::new();
        wheel.expire(50, &mut Vec::new());
        wheel.no_later_than(1, 90);
        wheel.no_later_than(1, 300);
        wheel.no_later_than(2, 3);
        assert_eq!(wheel.next(), Some(51));
        assert_eq!(expired(&mut wheel, 51), [2]);
        assert_eq!(expired(&mut wheel, 90), [1]);
    }

    proptest! {
        /// Against a plain map: the same slots at the same ticks.
        #[test]
        fn agrees_with_a_map(steps in prop::collection::vec((0u32..40, 0u32..1_500, 0u32..3, 0u32..60), 1..200)) {
            let mut wheel = Wheel::new();
            let mut map: BTreeMap<u32, u32> = BTreeMap::new();
            let mut now = 0;
            for (slot, after, kind, pass) in steps {
                match kind {
                    0 => { wheel.remove(slot); map.remove(&slot); }
                    _ => {
                        let due = now + 1 + after;
                        wheel.no_later_than(slot, due);
                        let entry = map.entry(slot).or_insert(due);
                        *entry = due.min(*entry);
                    }
                }
                now += pass;
                let due: Vec<u32> = map.iter().filter(|(_, due)| **due <= now).map(|(slot, _)| *slot).collect();
                map.retain(|_, due| *due > now);
                prop_assert_eq!(expired(&mut wheel, now), due);
                let first = map.values().min().copied();
                prop_assert!(wheel.next().is_none_or(|next| first.is_some_and(|first| next <= first)));
            }
        }
    }
}
