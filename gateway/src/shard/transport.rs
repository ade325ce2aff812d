//! What a shard does to one connection's socket: hands parcels to it, writes them, closes it. Knows nothing of
//! sessions, so that a session's own code can use it (`context::Cx`) while the reactor is in the middle of a turn:
//! a link that breaks here is only marked, and freed when the turn ends.

mod closing;
pub(super) mod gather;
pub(super) mod outbox;

use super::codec;
use super::conn::{Link, State};
use super::tally::Tally;
use super::wheel::{NEVER, Wheel, ticks};
use super::{Class, Config, ConnId};
use bytes::Bytes;
use gather::{Gather, List, Parcel};
use mio::{Interest, Registry, Token};
use outbox::{Outbox, Pushed, Totals};
use std::io::{self, ErrorKind, IoSlice, Write};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// A list is written before the turn ends when it is longer than this, so that one turn cannot fill an outbox while
/// the socket would take it.
const EARLY: u32 = 64 << 10;
/// Up to here, copying parcels together is cheaper than telling the kernel where each of them is.
const COPY: u32 = 16 << 10;
const SLICES: usize = 64;
/// Pings answered singly in one turn; of what comes beyond, only the latest is (RFC 6455 §5.5.3).
const PONGS_PER_TURN: u8 = 16;

pub(super) struct Transport {
    pub(super) config: Config,
    /// The tick it is.
    pub(super) now: u32,
    pub(super) wheel: Wheel,
    pub(super) gather: Gather,
    pub(super) tally: Tally,
    pub(super) totals: Arc<Totals>,
    /// Connections to be read without waiting for the socket to say so.
    pub(super) ready: Vec<u32>,
    /// An outbox has grown since this was last looked at.
    pub(super) grown: bool,
    registry: Registry,
    flat: Vec<u8>,
}

impl Transport {
    pub(super) fn new(config: Config, totals: Arc<Totals>, registry: Registry) -> Self {
        Transport {
            config,
            now: 0,
            wheel: Wheel::new(),
            gather: Gather::default(),
            tally: Tally::default(),
            totals,
            ready: Vec::new(),
            grown: false,
            registry,
            flat: Vec::new(),
        }
    }

    /// The tick at which `duration` from now has passed.
    pub(super) fn after(&self, duration: Duration) -> u32 {
        self.now.saturating_add(ticks(duration)).min(NEVER - 1)
    }

    /// Somewhere in the second half of the first interval, spread evenly, so that those who came together do not beat
    /// together for ever.
    pub(super) fn first_beat(&self, id: ConnId) -> u32 {
        let half = (ticks(self.config.heartbeat) / 2).max(1);
        self.now + half + id.slot().wrapping_mul(0x9E37_79B9) % half
    }

    pub(super) fn schedule(&mut self, link: &Link) {
        self.wheel.no_later_than(link.slot(), link.due());
    }

    pub(super) fn send(&mut self, link: &mut Link, bytes: Bytes, events: u32, class: Class) -> Pushed {
        let parcel = self.gather.parcel(Parcel { bytes, events, class });
        self.hand(link, parcel)
    }

    /// Hands one parcel of this turn to one connection.
    #[inline]
    pub(super) fn hand(&mut self, link: &mut Link, parcel: u32) -> Pushed {
        if link.state != State::Open || link.overflowed {
            return Pushed::Dropped;
        }
        let events = self.gather.get(parcel).events;
        if let Some(outbox) = &mut link.outbox {
            let pushed = outbox.push(self.gather.get(parcel), self.config.outbox, &self.totals);
            match pushed {
                Pushed::Kept => {
                    self.grown = true;
                    link.events_sent += u64::from(events);
                    self.tally.frames_out += u64::from(events.max(1));
                }
                Pushed::Dropped => self.tally.ephemeral_dropped += 1,
                Pushed::Full => {}
            }
            return pushed;
        }
        link.events_sent += u64::from(events);
        self.tally.frames_out += u64::from(events.max(1));
        self.append(link, parcel);
        if link.list.bytes > EARLY {
            self.flush(link);
        }
        Pushed::Kept
    }

    fn append(&mut self, link: &mut Link, parcel: u32) {
        self.gather.append(&mut link.list, parcel);
        self.mark(link);
    }

    pub(super) fn mark(&mut self, link: &mut Link) {
        if !std::mem::replace(&mut link.dirty, true) {
            self.gather.mark(link.slot());
        }
    }

    /// A frame of the protocol itself: goes out in order, and always fits.
    pub(super) fn control(&mut self, link: &mut Link, bytes: Bytes) {
        self.tally.frames_out += 1;
        match &mut link.outbox {
            Some(outbox) => outbox.push_control(bytes, &self.totals),
            None => {
                let parcel = self.gather.parcel(Parcel { bytes, events: 0, class: Class::Durable });
                self.append(link, parcel);
            }
        }
    }

    pub(super) fn ping(&mut self, link: &mut Link) {
        self.control(link, codec::PING);
    }

    pub(super) fn answer_ping(&mut self, link: &mut Link, payload: &[u8]) {
        let pong = codec::pong_frame(payload);
        match &mut link.outbox {
            Some(outbox) => outbox.answer_ping(pong),
            None if link.pongs < PONGS_PER_TURN => {
                link.pongs += 1;
                self.control(link, pong);
                link.last_pong = self.gather.last();
            }
            None => self.gather.replace(&mut link.list, link.last_pong, pong),
        }
    }

    pub(super) fn resume(&mut self, link: &mut Link) {
        if std::mem::take(&mut link.paused) {
            // The beats it could not answer were not its fault.
            link.heard = true;
            link.missed_beats = 0;
            self.ready.push(link.slot());
            self.expect_rest(link, true, true);
        }
    }

    /// Sets the deadlines of what has begun to come in; a frame or message whole since then means that what is
    /// unfinished now began later. A paused connection has none: it is we who do not read.
    pub(super) fn expect_rest(&mut self, link: &mut Link, frame_whole: bool, message_whole: bool) {
        if link.state != State::Open {
            return;
        }
        let begin = |unfinished: bool, restart: bool, deadline: u32, after: u32| match deadline {
            _ if !unfinished || link.paused => NEVER,
            NEVER => after,
            _ if restart => after,
            running => running,
        };
        let (frame, message) = (self.after(self.config.frame), self.after(self.config.message));
        let (inside_frame, inside_message) = (link.decoder.inside_frame(), link.decoder.inside_message());
        link.deadlines.frame = begin(inside_frame, frame_whole, link.deadlines.frame, frame);
        link.deadlines.message = begin(inside_message, message_whole, link.deadlines.message, message);
        if inside_frame || inside_message {
            self.schedule(link);
        }
    }

    /// Throws away what waits for this peer.
    pub(super) fn cut(&mut self, link: &mut Link) {
        if let Some(outbox) = &mut link.outbox {
            link.events_sent -= outbox.cut(&self.totals);
        }
        link.overflowed = false;
    }

    /// Writes what this turn gathered for the connection; what the socket does not take becomes its outbox.
    pub(super) fn flush(&mut self, link: &mut Link) {
        let list = std::mem::replace(&mut link.list, List::EMPTY);
        link.pongs = 0;
        if list.len == 0 || link.state == State::Dead {
            return;
        }
        let written = match self.write_list(link, list) {
            Ok(written) => written,
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            Err(_) => return self.broken(link),
        };
        self.tally.writes += 1;
        self.tally.bytes_out += written as u64;
        if written < list.bytes as usize {
            self.keep_rest(link, list, written);
        }
    }

    fn write_list(&mut self, link: &mut Link, list: List) -> io::Result<usize> {
        let socket = &mut link.socket;
        let mut parcels = self.gather.walk(list);
        if list.len == 1 {
            let only = parcels.next().map_or(&[][..], |parcel| &parcel.bytes);
            return retry(|| socket.write(only));
        }
        if list.len as usize <= SLICES && list.bytes > COPY {
            let mut slices = [IoSlice::new(&[]); SLICES];
            for (slice, parcel) in slices.iter_mut().zip(parcels) {
                *slice = IoSlice::new(&parcel.bytes);
            }
            return retry(|| socket.write_vectored(&slices[..list.len as usize]));
        }
        self.flat.clear();
        parcels.for_each(|parcel| self.flat.extend_from_slice(&parcel.bytes));
        let written = retry(|| socket.write(&self.flat));
        self.flat.shrink_to(4 * EARLY as usize);
        written
    }

    fn keep_rest(&mut self, link: &mut Link, list: List, written: usize) {
        let mut outbox = Box::<Outbox>::default();
        let mut skip = written;
        for parcel in self.gather.walk(list) {
            if skip >= parcel.bytes.len() {
                skip -= parcel.bytes.len();
                continue;
            }
            outbox.rest(parcel, std::mem::take(&mut skip), &self.totals);
        }
        link.outbox = Some(outbox);
        self.grown = true;
        self.tally.short_writes += 1;
        self.watch(link, Interest::READABLE | Interest::WRITABLE);
    }

    /// The socket takes more again: writes from the outbox until it does not, or until nothing is left.
    pub(super) fn drain(&mut self, link: &mut Link) {
        let Some(outbox) = &mut link.outbox else { return };
        while let Some(chunk) = outbox.chunk(&mut self.flat, EARLY as usize, &self.totals) {
            let wanted = chunk.len();
            let written = match retry(|| link.socket.write(chunk)) {
                Ok(written) => written,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => return self.broken(link),
            };
            outbox.written(written, &self.totals);
            self.tally.writes += 1;
            self.tally.bytes_out += written as u64;
            if written < wanted {
                return;
            }
        }
        link.outbox = None;
        link.lagging = false;
        link.deadlines.lagging = NEVER;
        self.watch(link, Interest::READABLE);
        self.mark(link);
    }

    fn watch(&mut self, link: &mut Link, interest: Interest) {
        let token = Token(link.id.0 as usize);
        if self.registry.reregister(&mut link.socket, token, interest).is_err() {
            self.broken(link);
        }
    }

    pub(super) fn register(&mut self, link: &mut Link) -> io::Result<()> {
        self.registry.register(&mut link.socket, Token(link.id.0 as usize), Interest::READABLE)
    }

    /// Counts what the connection holds of unfinished input. False: more than all of them together may.
    pub(super) fn hold(&mut self, link: &mut Link) -> bool {
        let held = link.decoder.held() + link.unread.len();
        let before = std::mem::replace(&mut link.held, held);
        if held == before {
            return true;
        }
        let total = self.totals.inbound.fetch_add(held, Relaxed) + held;
        self.totals.inbound.fetch_sub(before, Relaxed);
        held < before || total - before <= self.config.inbound
    }

    /// Everything the connection was counted for.
    pub(super) fn release(&mut self, link: &mut Link) {
        self.wheel.remove(link.slot());
        self.totals.inbound.fetch_sub(std::mem::take(&mut link.held), Relaxed);
        if let Some(outbox) = link.outbox.take() {
            self.totals.outboxes.fetch_sub(outbox.cost(), Relaxed);
        }
        self.tally.closed(link.why);
    }
}

fn retry(mut write: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match write() {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}
