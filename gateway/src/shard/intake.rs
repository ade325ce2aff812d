//! What other threads hand to a shard: one queue, taken whole once per turn, and one wakeup only when the shard sleeps.
//!
//! Bound: deliveries up to `Config::intake` bytes. What comes beyond is not queued; the connections it was for are
//! remembered by id, at most each once, and told `lagging` after what was queued before. Notes and adoptions are not
//! counted: the first are answers to what the session layer itself bounds, the second the server does.

use super::codec::Close;
use super::{Class, ConnId, Sessions};
use bytes::Bytes;
use mio::Waker;
use std::collections::HashSet;
use std::net::TcpStream;
use std::ops::Range;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub(super) enum Handed<S: Sessions> {
    Adopt(Box<Adopted<S>>),
    Note(ConnId, S::Note),
    NoteAll(Arc<NoteFor<S>>),
    Part(Part),
}

pub(super) type NoteFor<S> = dyn Fn(ConnId) -> <S as Sessions>::Note + Send + Sync;

pub(super) struct Adopted<S: Sessions> {
    pub(super) socket: TcpStream,
    pub(super) early: Bytes,
    pub(super) session: S::Session,
}

/// The receivers of one delivery that are this shard's.
pub(super) struct Part {
    pub(super) bytes: Bytes,
    pub(super) events: u32,
    pub(super) class: Class,
    pub(super) to: Arc<[ConnId]>,
    pub(super) range: Range<usize>,
}

impl Part {
    pub(super) fn receivers(&self) -> &[ConnId] {
        &self.to[self.range.clone()]
    }

    /// What it pins in memory, and so what it counts.
    fn weight(&self) -> usize {
        self.bytes.len() + self.range.len() * size_of::<ConnId>() + size_of::<Self>()
    }
}

pub(super) struct Intake<S: Sessions> {
    state: Mutex<State<S>>,
    waker: Waker,
    limit: usize,
    /// Adopted, and not yet gone.
    pub(super) connections: AtomicUsize,
}

pub(super) struct Taken<S: Sessions> {
    pub(super) queue: Vec<Handed<S>>,
    /// Connections that missed a durable delivery, after all of the queue.
    pub(super) missed: HashSet<ConnId>,
    pub(super) ephemeral_dropped: u64,
    pub(super) stop: Option<Close>,
}

impl<S: Sessions> Default for Taken<S> {
    fn default() -> Self {
        Taken { queue: Vec::new(), missed: HashSet::new(), ephemeral_dropped: 0, stop: None }
    }
}

struct State<S: Sessions> {
    taken: Taken<S>,
    weight: usize,
    /// Something was left out since the shard last came by: so is everything until it does, or the order would break.
    full: bool,
    /// The shard will come by without being woken.
    awake: bool,
    over: bool,
}

impl<S: Sessions> Intake<S> {
    pub(super) fn new(waker: Waker, limit: usize) -> Self {
        let state = State { taken: Taken::default(), weight: 0, full: false, awake: true, over: false };
        Intake { state: Mutex::new(state), waker, limit, connections: AtomicUsize::new(0) }
    }

    fn lock(&self) -> MutexGuard<'_, State<S>> {
        // Nothing under this lock can panic half way; if it could, the queue would still be whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands over some things at once. False: the shard has stopped, and they are gone.
    pub(super) fn push(&self, things: impl IntoIterator<Item = Handed<S>>) -> bool {
        let mut state = self.lock();
        if state.over {
            return false;
        }
        for thing in things {
            match thing {
                Handed::Part(part) => state.part(part, self.limit),
                thing => state.taken.queue.push(thing),
            }
        }
        self.wake(state);
        true
    }

    /// The shard closes every connection with `close`, and ends.
    pub(super) fn stop(&self, close: Close) {
        let mut state = self.lock();
        state.taken.stop.get_or_insert(close);
        self.wake(state);
    }

    fn wake(&self, mut state: MutexGuard<'_, State<S>>) {
        let asleep = !std::mem::replace(&mut state.awake, true);
        drop(state);
        if asleep && let Err(error) = self.waker.wake() {
            tracing::error!(%error, "a shard cannot be woken; it comes by within a second");
        }
    }

    /// True: nothing is here, and whoever brings something from now on wakes the shard.
    pub(super) fn may_sleep(&self) -> bool {
        let mut state = self.lock();
        let taken = &state.taken;
        state.awake = !(taken.queue.is_empty() && taken.missed.is_empty() && taken.stop.is_none());
        !state.awake
    }

    /// Everything handed over since the last call.
    pub(super) fn take(&self) -> Taken<S> {
        let mut state = self.lock();
        state.awake = true;
        state.weight = 0;
        state.full = false;
        std::mem::take(&mut state.taken)
    }

    /// The shard has ended: what was handed over too late is dropped, what comes is refused.
    pub(super) fn end(&self) {
        let mut state = self.lock();
        state.over = true;
        let late = std::mem::take(&mut state.taken);
        drop(state);
        drop(late);
    }
}

impl<S: Sessions> State<S> {
    fn part(&mut self, part: Part, limit: usize) {
        let weight = self.weight + part.weight();
        if !self.full && weight <= limit {
            self.weight = weight;
            self.taken.queue.push(Handed::Part(part));
            return;
        }
        match part.class {
            Class::Ephemeral => self.taken.ephemeral_dropped += part.range.len() as u64,
            Class::Durable => {
                self.full = true;
                self.taken.missed.extend(part.receivers());
            }
        }
    }
}
