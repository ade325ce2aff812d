//! For each of many people a small set of epochs, mostly one: routes, and who watches whom. In shards, so that gateways
//! and workers on different cores rarely wait for each other.
//!
//! A person costs 33 bytes in the table and, by its load, at most 76 all together; only who is on several gateways at
//! once costs an allocation beside it.

use crate::domain::UserId;
use std::{
    collections::{HashMap, hash_map::Entry},
    hash::{BuildHasherDefault, Hasher},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

const SHARDS: usize = 16;

pub(super) enum Epochs {
    One(u64),
    Many(Box<[u64]>),
}

impl Epochs {
    fn as_slice(&self) -> &[u64] {
        match self {
            Self::One(epoch) => std::slice::from_ref(epoch),
            Self::Many(epochs) => epochs,
        }
    }

    fn of(epochs: Vec<u64>) -> Option<Self> {
        match epochs[..] {
            [] => None,
            [one] => Some(Self::One(one)),
            _ => Some(Self::Many(epochs.into())),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Inserted {
    Already,
    First,
    Another,
}

impl Inserted {
    pub fn is_first(self) -> bool {
        self == Self::First
    }

    pub fn is_new(self) -> bool {
        self != Self::Already
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Removed {
    NotThere,
    Last,
    OneOfSeveral,
}

impl Removed {
    pub fn is_last(self) -> bool {
        self == Self::Last
    }

    pub fn was_there(self) -> bool {
        self != Self::NotThere
    }
}

/// An id's last eight bytes, mixed (the finisher of SplitMix64). They are random already, and nobody chooses his own id:
/// a hash that withstands an attacker would be most of a lookup's cost.
#[derive(Default)]
struct IdHasher(u64);

impl Hasher for IdHasher {
    fn write(&mut self, bytes: &[u8]) {
        if let Some(last) = bytes.last_chunk::<8>() {
            self.0 ^= u64::from_le_bytes(*last);
        }
    }

    fn write_usize(&mut self, _length: usize) {}

    fn finish(&self) -> u64 {
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

type Shard = HashMap<UserId, Epochs, BuildHasherDefault<IdHasher>>;

#[derive(Default)]
pub(super) struct EpochSets {
    shards: [Mutex<Shard>; SHARDS],
    people: AtomicUsize,
}

impl EpochSets {
    pub fn insert(&self, user: UserId, epoch: u64) -> Inserted {
        match self.shard(user).entry(user) {
            Entry::Vacant(vacant) => {
                vacant.insert(Epochs::One(epoch));
                self.people.fetch_add(1, Ordering::Relaxed);
                Inserted::First
            }
            Entry::Occupied(occupied) if occupied.get().as_slice().contains(&epoch) => Inserted::Already,
            Entry::Occupied(mut occupied) => {
                let epochs = occupied.get().as_slice().iter().copied().chain([epoch]).collect();
                occupied.insert(Epochs::Many(epochs));
                Inserted::Another
            }
        }
    }

    pub fn remove(&self, user: UserId, epoch: u64) -> Removed {
        let mut shard = self.shard(user);
        let Entry::Occupied(mut occupied) = shard.entry(user) else { return Removed::NotThere };
        if !occupied.get().as_slice().contains(&epoch) {
            return Removed::NotThere;
        }
        let left: Vec<u64> = occupied.get().as_slice().iter().copied().filter(|other| *other != epoch).collect();
        match Epochs::of(left) {
            Some(left) => {
                occupied.insert(left);
                Removed::OneOfSeveral
            }
            None => {
                occupied.remove();
                self.people.fetch_sub(1, Ordering::Relaxed);
                Removed::Last
            }
        }
    }

    /// What `name` makes of each epoch of this person.
    pub fn get<T>(&self, user: UserId, name: impl Fn(u64) -> Option<T>) -> Vec<T> {
        match self.shard(user).get(&user) {
            Some(epochs) => epochs.as_slice().iter().filter_map(|epoch| name(*epoch)).collect(),
            None => vec![],
        }
    }

    /// Everybody whose set has this epoch.
    pub fn members(&self, epoch: u64) -> Vec<UserId> {
        let mut members = vec![];
        for shard in &self.shards {
            let shard = lock(shard);
            members
                .extend(shard.iter().filter(|(_, epochs)| epochs.as_slice().contains(&epoch)).map(|(user, _)| *user));
        }
        members
    }

    pub fn retain(&self, keep: impl Fn(u64) -> bool) {
        for shard in &self.shards {
            let mut shard = lock(shard);
            let before = shard.len();
            shard.retain(|_, epochs| {
                if epochs.as_slice().iter().all(|epoch| keep(*epoch)) {
                    return true;
                }
                let left = Epochs::of(epochs.as_slice().iter().copied().filter(|epoch| keep(*epoch)).collect());
                left.map(|left| *epochs = left).is_some()
            });
            self.people.fetch_sub(before - shard.len(), Ordering::Relaxed);
            if shard.len() * 4 < shard.capacity() {
                shard.shrink_to_fit();
            }
        }
    }

    /// People with a set that is not empty.
    pub fn len(&self) -> usize {
        self.people.load(Ordering::Relaxed)
    }

    fn shard(&self, user: UserId) -> MutexGuard<'_, Shard> {
        // Of a UUID of any version the last byte is as good as random.
        lock(&self.shards[usize::from(user.0.as_bytes()[15]) % SHARDS])
    }
}

fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_takes_little_room() {
        assert_eq!(size_of::<(UserId, Epochs)>(), 32);
    }

    #[test]
    fn first_and_last_are_said_once() {
        let (sets, user) = (EpochSets::default(), UserId::new());
        assert_eq!(
            [1, 1, 2].map(|epoch| sets.insert(user, epoch)),
            [Inserted::First, Inserted::Already, Inserted::Another]
        );
        assert_eq!(sets.get(user, Some), [1, 2]);
        assert_eq!(
            [3, 1, 1, 2].map(|epoch| sets.remove(user, epoch)),
            [Removed::NotThere, Removed::OneOfSeveral, Removed::NotThere, Removed::Last]
        );
        assert_eq!(sets.len(), 0);
    }

    #[test]
    fn sweeping_keeps_who_is_elsewhere() {
        let (sets, here, both) = (EpochSets::default(), UserId::new(), UserId::new());
        sets.insert(here, 1);
        sets.insert(both, 1);
        sets.insert(both, 2);
        sets.retain(|epoch| epoch == 2);
        assert_eq!((sets.len(), sets.get(here, Some), sets.get(both, Some)), (1, vec![], vec![2]));
        assert_eq!(sets.members(2), [both]);
    }
}
