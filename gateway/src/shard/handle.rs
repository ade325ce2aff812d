//! The handle to all shards: what the rest of the gateway uses, from any thread. Nothing here waits.

use super::codec::Close;
use super::intake::{Adopted, Handed, Intake, Part};
use super::reactor::Reactor;
use super::transport::outbox::Totals;
use super::{Config, ConnId, Delivery, Sessions};
use bytes::Bytes;
use std::io;
use std::net::TcpStream;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

pub struct Shards<S: Sessions> {
    inner: Arc<Inner<S>>,
}

struct Inner<S: Sessions> {
    intakes: Vec<Arc<Intake<S>>>,
    totals: Arc<Totals>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl<S: Sessions> Inner<S> {
    fn threads(&self) -> MutexGuard<'_, Vec<JoinHandle<()>>> {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: Sessions> Clone for Shards<S> {
    fn clone(&self) -> Self {
        Shards { inner: Arc::clone(&self.inner) }
    }
}

/// The shards have ended; the socket is closed.
#[derive(Debug)]
pub struct Stopped;

impl<S: Sessions> Drop for Inner<S> {
    fn drop(&mut self) {
        for intake in &self.intakes {
            intake.stop(Close { code: 1001, reason: "" });
        }
    }
}

/// Of the whole process, at this moment.
#[derive(Clone, Copy, Debug)]
pub struct Counts {
    pub connections: usize,
    /// Bytes waiting for slow peers.
    pub outboxes: usize,
    /// Bytes of unfinished messages.
    pub inbound: usize,
}

impl<S: Sessions> Shards<S> {
    /// Starts `shards` threads (one per core is right; at most 256), each with the session layer that `make` gives it.
    pub fn start(shards: usize, config: Config, mut make: impl FnMut(usize) -> S) -> io::Result<Self> {
        let mut inner = Inner { intakes: Vec::new(), totals: Arc::default(), threads: Mutex::default() };
        for shard in 0..shards.clamp(1, 256) {
            let (reactor, intake) = Reactor::new(shard, config, Arc::clone(&inner.totals), make(shard))?;
            let thread = std::thread::Builder::new().name(format!("shard-{shard}"));
            // If a later one cannot start, dropping `inner` stops these.
            inner.intakes.push(intake);
            inner.threads().push(thread.spawn(move || reactor.run())?);
        }
        Ok(Shards { inner: Arc::new(inner) })
    }

    /// Gives a socket whose handshake is over, with the bytes read beyond it, to the shard with the fewest.
    pub fn adopt(&self, socket: TcpStream, early: Bytes, session: S::Session) -> Result<(), Stopped> {
        let least = self.inner.intakes.iter().min_by_key(|intake| intake.connections.load(Relaxed));
        let intake = least.ok_or(Stopped)?;
        intake.connections.fetch_add(1, Relaxed);
        if !intake.push([Handed::Adopt(Box::new(Adopted { socket, early, session }))]) {
            intake.connections.fetch_sub(1, Relaxed);
            return Err(Stopped);
        }
        Ok(())
    }

    /// Tells one session something. Nobody there: nothing happens.
    pub fn note(&self, id: ConnId, note: S::Note) {
        if let Some(intake) = self.inner.intakes.get(id.shard()) {
            intake.push([Handed::Note(id, note)]);
        }
    }

    /// Tells many at once, with one push and at most one wakeup per shard.
    pub fn notes(&self, notes: impl IntoIterator<Item = (ConnId, S::Note)>) {
        let mut parts: Vec<Vec<Handed<S>>> = self.inner.intakes.iter().map(|_| Vec::new()).collect();
        for (id, note) in notes {
            if let Some(part) = parts.get_mut(id.shard()) {
                part.push(Handed::Note(id, note));
            }
        }
        self.push(parts);
    }

    /// Tells every session something of its own.
    pub fn note_all(&self, note: impl Fn(ConnId) -> S::Note + Send + Sync + 'static) {
        let note = Arc::new(note);
        for intake in &self.inner.intakes {
            intake.push([Handed::NoteAll(note.clone())]);
        }
    }

    /// Hands every shard its part of all deliveries, with one push and at most one wakeup. A connection gets them in
    /// this order, after what was handed over for it before.
    pub fn deliver(&self, deliveries: Vec<Delivery>) {
        let mut parts: Vec<Vec<Handed<S>>> = self.inner.intakes.iter().map(|_| Vec::new()).collect();
        for Delivery { bytes, events, class, to } in deliveries {
            let mut from = 0;
            for run in to.chunk_by(|a, b| a.shard() == b.shard()) {
                let range = from..from + run.len();
                from = range.end;
                let (bytes, to) = (bytes.clone(), Arc::clone(&to));
                if let Some(part) = parts.get_mut(to[range.start].shard()) {
                    part.push(Handed::Part(Part { bytes, events, class, to, range }));
                }
            }
        }
        self.push(parts);
    }

    fn push(&self, parts: Vec<Vec<Handed<S>>>) {
        for (intake, part) in self.inner.intakes.iter().zip(parts) {
            if !part.is_empty() {
                intake.push(part);
            }
        }
    }

    pub fn counts(&self) -> Counts {
        Counts {
            connections: self.inner.intakes.iter().map(|intake| intake.connections.load(Relaxed)).sum(),
            outboxes: self.inner.totals.outboxes.load(Relaxed),
            inbound: self.inner.totals.inbound.load(Relaxed),
        }
    }

    /// Closes every connection with `close`; the shards end when all are gone, at the latest after `Config::closing`.
    pub fn stop(&self, close: Close) {
        for intake in &self.inner.intakes {
            intake.stop(close);
        }
    }

    /// Waits for the shards to end. Blocks: call it on a thread that may.
    pub fn join(&self) {
        let threads = std::mem::take(&mut *self.inner.threads());
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("a shard ended by a panic");
            }
        }
    }
}
