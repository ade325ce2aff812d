//! The loop of one shard. A turn: what the sockets have for us, what other threads handed over, what is due by the
//! clock; then one write for each connection that got something, and the broken ones are freed.

mod deadlines;
mod reading;

use super::codec::Close;
use super::conn::{Conn, Link, State};
use super::context::Cx;
use super::intake::{Adopted, Handed, Intake, Part, Taken};
use super::slab::Slab;
use super::tally::Publisher;
use super::transport::Transport;
use super::transport::gather::Parcel;
use super::transport::outbox::{Pushed, Totals};
use super::wheel::TICK;
use super::{Config, ConnId, INTERNAL, LAGGING, Sessions};
use mio::event::Event;
use mio::{Events, Poll, Token, Waker};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

const WAKER: Token = Token(usize::MAX);
const EVENTS: usize = 1024;
const PUBLISH: Duration = Duration::from_secs(1);

pub(super) struct Reactor<S: Sessions> {
    pub(super) sessions: S,
    pub(super) conns: Slab<Conn<S::Session>>,
    pub(super) transport: Transport,
    /// The one read buffer.
    pub(super) buffer: Box<[u8]>,
    poll: Poll,
    intake: Arc<Intake<S>>,
    publisher: Publisher,
    started: Instant,
    stopping: bool,
}

impl<S: Sessions> Reactor<S> {
    pub(super) fn new(
        shard: usize,
        config: Config,
        totals: Arc<Totals>,
        sessions: S,
    ) -> io::Result<(Self, Arc<Intake<S>>)> {
        let poll = Poll::new()?;
        let intake = Arc::new(Intake::new(Waker::new(poll.registry(), WAKER)?, config.intake));
        let reactor = Reactor {
            sessions,
            conns: Slab::new(shard),
            transport: Transport::new(config, totals, poll.registry().try_clone()?),
            buffer: vec![0; config.read_buffer].into(),
            poll,
            intake: Arc::clone(&intake),
            publisher: Publisher::new(shard),
            started: shared::clock::monotonic(),
            stopping: false,
        };
        Ok((reactor, intake))
    }

    pub(super) fn run(mut self) {
        let mut events = Events::with_capacity(EVENTS);
        let mut published = Duration::ZERO;
        while !self.stopping || self.conns.len() > 0 {
            let sleep = self.transport.ready.is_empty() && self.intake.may_sleep();
            let wait = if sleep { self.idle() } else { Duration::ZERO };
            if let Err(error) = self.poll.poll(&mut events, Some(wait))
                && error.kind() != io::ErrorKind::Interrupted
            {
                // Only a broken program gets here (EBADF, EFAULT): without its loop the shard is of no use.
                tracing::error!(%error, "a shard cannot wait for its sockets; it ends");
                break;
            }
            let began = self.elapsed();
            self.transport.now = (began.as_nanos() / TICK.as_nanos()) as u32;
            self.turn(&events);
            let ended = self.elapsed();
            self.transport.tally.longest_turn = self.transport.tally.longest_turn.max(ended - began);
            if ended - published >= PUBLISH {
                published = ended;
                self.publish();
            }
        }
        self.end();
    }

    fn elapsed(&self) -> Duration {
        shared::clock::monotonic() - self.started
    }

    /// How long there is nothing to do but wait for sockets. At most a second, so that metrics stay fresh.
    fn idle(&self) -> Duration {
        let Some(tick) = self.transport.wheel.next() else { return PUBLISH };
        (TICK * tick).saturating_sub(self.elapsed()).min(PUBLISH)
    }

    fn turn(&mut self, events: &Events) {
        for event in events.iter().filter(|event| event.token() != WAKER) {
            self.socket_event(event);
        }
        for slot in std::mem::take(&mut self.transport.ready) {
            self.read(slot);
        }
        let handed = self.intake.take();
        self.take_in(handed);
        self.expire();
        self.flush_all();
    }

    fn socket_event(&mut self, event: &Event) {
        let id = ConnId(event.token().0 as u64);
        let Some(conn) = self.conns.get(id) else { return };
        let link = &mut conn.link;
        if event.is_writable() {
            self.transport.drain(link);
        }
        if event.is_error() {
            return self.transport.broken(link);
        }
        link.hung_up |= event.is_read_closed();
        if event.is_readable() || link.hung_up {
            self.read(id.slot());
        }
    }

    fn take_in(&mut self, handed: Taken<S>) {
        for thing in handed.queue {
            match thing {
                Handed::Part(part) => self.deliver(part),
                Handed::Note(id, note) => self.note(id, note),
                Handed::NoteAll(note) => {
                    let ids: Vec<ConnId> = self.conns.iter_mut().map(|(_, conn)| conn.link.id).collect();
                    ids.into_iter().for_each(|id| self.note(id, note(id)));
                }
                Handed::Adopt(adopted) => self.adopt(*adopted),
            }
        }
        self.transport.tally.ephemeral_dropped += handed.ephemeral_dropped;
        self.transport.tally.missed += handed.missed.len() as u64;
        for id in handed.missed {
            if self.conns.get(id).is_some() {
                self.lag(id.slot(), false);
            }
        }
        if let Some(close) = handed.stop {
            self.stopping = true;
            for (_, conn) in self.conns.iter_mut() {
                self.transport.close(&mut conn.link, close);
            }
        }
    }

    fn adopt(&mut self, adopted: Adopted<S>) {
        let Adopted { socket, early, session } = adopted;
        let Some(id) = self.conns.next_id() else { return self.refuse("every slot is taken") };
        let mut link = match Link::open(id, socket, self.transport.first_beat(id)) {
            Ok(link) => link,
            Err(error) => return self.refuse(error),
        };
        if let Err(error) = self.transport.register(&mut link) {
            return self.refuse(error);
        }
        self.transport.schedule(&link);
        self.transport.tally.opened += 1;
        self.conns.insert(id, Conn { link, session });
        let slot = id.slot();
        self.call(slot, |sessions, cx, session| sessions.opened(cx, session));
        if self.stopping
            && let Some(conn) = self.conns.at(slot)
        {
            self.transport.close(&mut conn.link, Close { code: 1001, reason: "" });
        }
        if !early.is_empty() {
            // A copy: the frames in it are unmasked in place, and `Bytes` may be shared.
            self.feed(slot, &mut early.to_vec());
        }
    }

    fn refuse(&mut self, why: impl std::fmt::Display) {
        self.intake.connections.fetch_sub(1, Relaxed);
        tracing::warn!(%why, "a socket could not be taken over");
    }

    fn note(&mut self, id: ConnId, note: S::Note) {
        if self.conns.get(id).is_some_and(|conn| conn.link.state == State::Open) {
            self.call(id.slot(), |sessions, cx, session| sessions.note(cx, session, note));
        }
    }

    fn deliver(&mut self, part: Part) {
        let Part { bytes, events, class, .. } = &part;
        let parcel = self.transport.gather.parcel(Parcel { bytes: bytes.clone(), events: *events, class: *class });
        for id in part.receivers() {
            let Some(conn) = self.conns.get(*id) else {
                self.transport.tally.stale += 1;
                continue;
            };
            if self.transport.hand(&mut conn.link, parcel) == Pushed::Full {
                self.lag(id.slot(), true);
                if let Some(conn) = self.conns.get(*id)
                    && self.transport.hand(&mut conn.link, parcel) == Pushed::Full
                {
                    self.transport.close(&mut conn.link, LAGGING);
                }
            }
        }
        self.keep_within_total();
    }

    /// The backlog goes and the session is told. Where that has already happened and was of no use, the session is
    /// closed, if it was the peer's fault.
    pub(super) fn lag(&mut self, slot: u32, fault: bool) {
        let Some(Conn { link, .. }) = self.conns.at(slot) else { return };
        if link.state != State::Open {
            return;
        }
        self.transport.cut(link);
        if link.lagging && fault {
            return self.transport.close(link, LAGGING);
        }
        if link.outbox.is_some() && !link.lagging {
            link.lagging = true;
            link.deadlines.lagging = self.transport.after(self.transport.config.lagging);
            self.transport.schedule(link);
        }
        self.transport.tally.lagging += 1;
        self.call(slot, |sessions, cx, session| sessions.lagging(cx, session));
    }

    /// Runs the session layer's code for one connection.
    pub(super) fn call(&mut self, slot: u32, run: impl FnOnce(&mut S, &mut Cx<'_>, &mut S::Session)) {
        let Some(Conn { link, session }) = self.conns.at(slot) else { return };
        let mut cx = Cx { link, transport: &mut self.transport };
        let sessions = &mut self.sessions;
        if catch_unwind(AssertUnwindSafe(|| run(sessions, &mut cx, session))).is_err() {
            self.transport.tally.panics += 1;
            self.transport.close(link, INTERNAL);
        }
        if link.overflowed {
            self.lag(slot, true);
        }
    }

    /// More waits for slow peers than the process may hold: this shard's longest outboxes go, until an eighth of the
    /// bound is free or none is left.
    fn keep_within_total(&mut self) {
        let bound = self.transport.config.outboxes;
        if !std::mem::take(&mut self.transport.grown) || self.transport.totals.outboxes.load(Relaxed) <= bound {
            return;
        }
        let cost = |link: &Link| link.outbox.as_ref().map_or(0, |outbox| outbox.cost());
        let mut longest: Vec<(usize, u32)> =
            self.conns.iter_mut().map(|(slot, conn)| (cost(&conn.link), slot)).filter(|(cost, _)| *cost > 0).collect();
        longest.sort_unstable();
        while self.transport.totals.outboxes.load(Relaxed) > bound / 8 * 7
            && let Some((_, slot)) = longest.pop()
        {
            self.lag(slot, true);
        }
    }

    fn flush_all(&mut self) {
        self.keep_within_total();
        let dirty = self.transport.gather.take_dirty();
        for slot in &dirty {
            let Some(Conn { link, .. }) = self.conns.at(*slot) else { continue };
            link.dirty = false;
            self.transport.flush(link);
            match link.state {
                State::Failing if link.is_flushed() => self.transport.shut(link),
                State::Done if link.is_flushed() => link.state = State::Dead,
                _ => {}
            }
            if link.state == State::Dead {
                self.free(*slot);
            }
        }
        self.transport.gather.end_turn(dirty);
    }

    pub(super) fn free(&mut self, slot: u32) {
        let Some(Conn { mut link, session }) = self.conns.remove(slot) else { return };
        self.transport.release(&mut link);
        self.intake.connections.fetch_sub(1, Relaxed);
        let sessions = &mut self.sessions;
        if catch_unwind(AssertUnwindSafe(|| sessions.closed(link.id, session, link.why))).is_err() {
            self.transport.tally.panics += 1;
        }
    }

    fn publish(&mut self) {
        self.publisher.publish(&mut self.transport.tally, self.conns.len(), &self.transport.totals);
    }

    fn end(&mut self) {
        self.intake.end();
        let rest: Vec<u32> = self.conns.iter_mut().map(|(slot, _)| slot).collect();
        rest.into_iter().for_each(|slot| self.free(slot));
        self.publish();
    }
}
