//! This worker's places at the partitions' queues: over which of them commands come, and which is to be given up.

use std::{
    fmt,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
};
use tokio::sync::Notify;

pub struct Places {
    partitions: Box<[State]>,
    sequencers: usize,
    /// Counts the times that commands began to come over a place.
    begun: AtomicU64,
}

#[derive(Default)]
struct State {
    /// When commands began to come, by that count; 0: none have come over this place.
    active: AtomicU64,
    /// To be given up.
    asked: AtomicBool,
    ask: Notify,
}

/// A place while it is held.
pub struct Place<'a> {
    places: &'a Places,
    state: &'a State,
}

impl fmt::Debug for Places {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Places").field(&self.active()).finish()
    }
}

impl Places {
    pub fn new(partitions: u16, sequencers: usize) -> Self {
        let partitions = (0..partitions).map(|_| State::default()).collect();
        Self { partitions, sequencers: sequencers.max(1), begun: AtomicU64::new(0) }
    }

    pub fn partitions(&self) -> u16 {
        self.partitions.len() as u16
    }

    /// Those that a sequencer serves.
    pub fn of_sequencer(&self, number: usize) -> Vec<u16> {
        (0..self.partitions()).filter(|partition| self.sequencer(*partition) == number).collect()
    }

    fn sequencer(&self, partition: u16) -> usize {
        usize::from(partition) % self.sequencers
    }

    pub fn take(&self, partition: u16) -> Place<'_> {
        let state = &self.partitions[usize::from(partition)];
        state.asked.store(false, Ordering::Relaxed);
        Place { places: self, state }
    }

    /// The partitions whose commands come here, each with when that began.
    pub fn active(&self) -> Vec<(u16, u64)> {
        let since = |(partition, state): (usize, &State)| (partition as u16, state.active.load(Ordering::Relaxed));
        self.partitions.iter().enumerate().map(since).filter(|(_, since)| *since > 0).collect()
    }

    /// Asks for one place where there are more than `share` active ones: of the sequencer that has most to do, the one
    /// that came last. So one that the next in line has no room for either goes on, until it comes to whoever has.
    pub fn give_one_up(&self, share: usize) -> Option<u16> {
        let active = self.active();
        if active.len() <= share {
            return None;
        }
        let served = |by: usize| active.iter().filter(|(partition, _)| self.sequencer(*partition) == by).count();
        let (partition, _) =
            active.iter().max_by_key(|(partition, since)| (served(self.sequencer(*partition)), *since))?;
        let state = &self.partitions[usize::from(*partition)];
        state.asked.store(true, Ordering::Relaxed);
        state.ask.notify_one();
        Some(*partition)
    }
}

impl Place<'_> {
    /// A batch has come over it.
    pub fn is_active(&self) {
        if self.state.active.load(Ordering::Relaxed) == 0 {
            let begun = self.places.begun.fetch_add(1, Ordering::Relaxed) + 1;
            self.state.active.store(begun, Ordering::Relaxed);
        }
    }

    /// Resolves when it is to be given up.
    pub async fn asked_for(&self) {
        // A notification may be left over from the place before this one.
        while !self.state.asked.load(Ordering::Relaxed) {
            self.state.ask.notified().await;
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.state.active.store(0, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    #[test]
    fn only_what_is_above_the_share_is_given_up() {
        let places = Places::new(4, 1);
        let held: Vec<Place<'_>> = (0..4).map(|partition| places.take(partition)).collect();
        assert_eq!(places.give_one_up(0), None, "nothing has come over any of them");
        held[1].is_active();
        held[3].is_active();
        held[1].is_active();
        assert_eq!(places.active(), [(1, 1), (3, 2)]);
        assert_eq!(places.give_one_up(2), None);
        assert_eq!(places.give_one_up(1), Some(3), "the last to come is the first to go");
        assert!(held[3].asked_for().now_or_never().is_some() && held[1].asked_for().now_or_never().is_none());
    }

    #[test]
    fn the_sequencer_with_most_to_do_gives_up() {
        let places = Places::new(4, 2);
        let held: Vec<Place<'_>> = [2, 0, 1].map(|partition| places.take(partition)).into();
        held.iter().for_each(Place::is_active);
        assert_eq!((places.of_sequencer(0), places.of_sequencer(1)), (vec![0, 2], vec![1, 3]));
        assert_eq!(places.give_one_up(2), Some(0));
    }

    #[test]
    fn a_new_place_knows_nothing_of_the_one_before() {
        let places = Places::new(1, 1);
        let place = places.take(0);
        place.is_active();
        assert_eq!(places.give_one_up(0), Some(0));
        drop(place);
        let place = places.take(0);
        assert!(places.active().is_empty());
        assert!(place.asked_for().now_or_never().is_none());
    }
}
