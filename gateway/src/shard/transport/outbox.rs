//! The outbox of a slow peer: what its socket did not take. It exists only from a short write until the peer has read
//! everything, so an idle or quick connection pays nothing for it.
//!
//! Bounds: `Config::outbox` for one peer; all peers together are counted in `Totals`. Each entry counts 64 bytes more
//! than it holds, for the queue itself. Bytes shared by many receivers count for each of them.

use super::super::Class;
use super::gather::Parcel;
use bytes::{Buf, Bytes};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// What the outboxes and the unfinished messages of all shards hold, in bytes.
#[derive(Default)]
pub(in crate::shard) struct Totals {
    pub(in crate::shard) outboxes: AtomicUsize,
    pub(in crate::shard) inbound: AtomicUsize,
}

const ENTRY: usize = 64;

#[derive(PartialEq, Eq, Debug)]
pub(in crate::shard) enum Pushed {
    Kept,
    /// Left out, as an ephemeral one may be.
    Dropped,
    /// There is no room for it. The backlog has to go.
    Full,
}

#[derive(Default)]
pub(in crate::shard) struct Outbox {
    queue: VecDeque<Entry>,
    /// The front has been written in part: the rest of it has to follow, whatever else is thrown away.
    begun: bool,
    cost: usize,
    /// The answer to the latest ping; it may overtake what waits.
    pong: Option<Bytes>,
}

struct Entry {
    bytes: Bytes,
    events: u32,
    cost: usize,
}

impl Outbox {
    /// The rest of a short write: whole parcels, but for `written` bytes of the first. Not bounded here, because the
    /// caller gathers little before it writes.
    pub(in crate::shard) fn rest(&mut self, parcel: &Parcel, written: usize, totals: &Totals) {
        self.begun |= written > 0;
        self.add(parcel.bytes.slice(written..), parcel.events, totals);
    }

    pub(in crate::shard) fn push(&mut self, parcel: &Parcel, limit: usize, totals: &Totals) -> Pushed {
        let cost = self.cost + parcel.bytes.len() + ENTRY;
        match parcel.class {
            Class::Ephemeral if cost > limit / 2 => return Pushed::Dropped,
            Class::Durable if cost > limit => return Pushed::Full,
            _ => {}
        }
        self.add(parcel.bytes.clone(), parcel.events, totals);
        Pushed::Kept
    }

    /// A control frame of ours: small, and at most a few per connection.
    pub(in crate::shard) fn push_control(&mut self, bytes: Bytes, totals: &Totals) {
        self.add(bytes, 0, totals);
    }

    pub(in crate::shard) fn answer_ping(&mut self, pong: Bytes) {
        self.pong = Some(pong);
    }

    fn add(&mut self, bytes: Bytes, events: u32, totals: &Totals) {
        let cost = bytes.len() + ENTRY;
        self.cost += cost;
        totals.outboxes.fetch_add(cost, Relaxed);
        self.queue.push_back(Entry { bytes, events, cost });
    }

    /// Throws away everything but the rest of what is half written. How many events that were.
    pub(in crate::shard) fn cut(&mut self, totals: &Totals) -> u64 {
        let keep = usize::from(self.begun);
        let mut events = 0;
        for entry in self.queue.drain(keep..) {
            events += u64::from(entry.events);
            self.cost -= entry.cost;
            totals.outboxes.fetch_sub(entry.cost, Relaxed);
        }
        // Cutting is for memory: give the queue's own back too.
        self.queue.shrink_to_fit();
        events
    }

    /// What to write next: one large entry as it is, or small ones copied together into `flat`, up to `most` bytes.
    pub(in crate::shard) fn chunk<'a>(
        &'a mut self,
        flat: &'a mut Vec<u8>,
        most: usize,
        totals: &Totals,
    ) -> Option<&'a [u8]> {
        if !self.begun
            && let Some(pong) = self.pong.take()
        {
            let cost = pong.len() + ENTRY;
            self.cost += cost;
            totals.outboxes.fetch_add(cost, Relaxed);
            self.queue.push_front(Entry { bytes: pong, events: 0, cost });
        }
        let front = self.queue.front()?;
        if front.bytes.len() >= most / 4 || self.queue.len() == 1 {
            return Some(&front.bytes);
        }
        flat.clear();
        for entry in &self.queue {
            if flat.len() + entry.bytes.len() > most {
                break;
            }
            flat.extend_from_slice(&entry.bytes);
        }
        Some(flat)
    }

    /// `written` bytes of the last chunk are the socket's now.
    pub(in crate::shard) fn written(&mut self, mut written: usize, totals: &Totals) {
        while let Some(front) = self.queue.front_mut() {
            if written < front.bytes.len() {
                self.begun |= written > 0;
                front.bytes.advance(written);
                return;
            }
            written -= front.bytes.len();
            self.begun = false;
            self.cost -= front.cost;
            totals.outboxes.fetch_sub(front.cost, Relaxed);
            self.queue.pop_front();
        }
    }

    pub(in crate::shard) fn cost(&self) -> usize {
        self.cost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parcel(size: usize, class: Class) -> Parcel {
        Parcel { bytes: Bytes::from(vec![b'x'; size]), events: 1, class }
    }

    fn total(totals: &Totals) -> usize {
        totals.outboxes.load(Relaxed)
    }

    #[test]
    fn ephemeral_stops_at_half_and_durable_when_full() {
        let (mut outbox, totals) = (Outbox::default(), Totals::default());
        let (durable, ephemeral) = (parcel(936, Class::Durable), parcel(936, Class::Ephemeral));
        for _ in 0..5 {
            assert_eq!(outbox.push(&ephemeral, 10_000, &totals), Pushed::Kept);
        }
        assert_eq!(outbox.push(&ephemeral, 10_000, &totals), Pushed::Dropped);
        for _ in 0..5 {
            assert_eq!(outbox.push(&durable, 10_000, &totals), Pushed::Kept);
        }
        assert_eq!(outbox.push(&durable, 10_000, &totals), Pushed::Full);
        assert_eq!((outbox.cost(), total(&totals)), (10_000, 10_000));
        assert_eq!(outbox.cut(&totals), 10);
        assert_eq!((outbox.cost(), total(&totals)), (0, 0));
    }

    #[test]
    fn a_cut_keeps_the_rest_of_what_is_half_written() {
        let (mut outbox, totals) = (Outbox::default(), Totals::default());
        outbox.rest(&parcel(100, Class::Durable), 40, &totals);
        outbox.push(&parcel(100, Class::Durable), 10_000, &totals);
        assert_eq!(outbox.cut(&totals), 1);
        let mut flat = Vec::new();
        assert_eq!(outbox.chunk(&mut flat, 1_000, &totals).map(<[u8]>::len), Some(60));
        outbox.written(60, &totals);
        assert_eq!(outbox.chunk(&mut flat, 1_000, &totals), None);
        outbox.push(&parcel(100, Class::Durable), 10_000, &totals);
        assert_eq!(outbox.cut(&totals), 1, "the next one had not begun");
        assert_eq!(total(&totals), 0);
    }

    #[test]
    fn a_pong_goes_between_entries_and_only_the_latest() {
        let (mut outbox, totals) = (Outbox::default(), Totals::default());
        outbox.rest(&parcel(10, Class::Durable), 4, &totals);
        outbox.push(&parcel(3, Class::Durable), 10_000, &totals);
        outbox.answer_ping(Bytes::from_static(b"old"));
        outbox.answer_ping(Bytes::from_static(b"new"));
        let mut sent = Vec::new();
        let mut flat = Vec::new();
        while let Some(chunk) = outbox.chunk(&mut flat, 8, &totals) {
            let some = chunk.len().min(4);
            sent.extend_from_slice(&chunk[..some]);
            outbox.written(some, &totals);
        }
        assert_eq!(sent, b"xxxxxxnewxxx");
        assert_eq!(total(&totals), 0);
    }
}
