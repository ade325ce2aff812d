//! The way in: from a readable socket through the decoder to the session.

use super::Reactor;
use crate::shard::codec::{Item, Step};
use crate::shard::conn::{Conn, State};
use crate::shard::{OVERLOADED, Sessions};
use std::io::{ErrorKind, Read};

/// Full buffers read from one socket before the others have their turn.
const READS_PER_TURN: usize = 2;

impl<S: Sessions> Reactor<S> {
    /// Reads until the socket has no more, or has had its share; epoll says so only once.
    pub(super) fn read(&mut self, slot: u32) {
        // Out of `self` while it is lent to the session; an empty box costs nothing.
        let mut buffer = std::mem::take(&mut self.buffer);
        self.read_into(slot, &mut buffer);
        self.buffer = buffer;
    }

    fn read_into(&mut self, slot: u32, buffer: &mut [u8]) {
        for _ in 0..READS_PER_TURN {
            let Some(Conn { link, .. }) = self.conns.at(slot) else { return };
            if !link.paused && !link.unread.is_empty() {
                let mut unread = std::mem::take(&mut link.unread);
                self.feed(slot, &mut unread);
                continue;
            }
            if link.paused || link.state == State::Dead {
                return;
            }
            match link.socket.read(buffer) {
                Ok(0) => return self.transport.broken(link),
                Ok(read) => {
                    let more = read == buffer.len() || link.hung_up;
                    link.heard = true;
                    self.transport.tally.reads += 1;
                    self.transport.tally.bytes_in += read as u64;
                    self.feed(slot, &mut buffer[..read]);
                    if !more {
                        return;
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => return self.transport.broken(link),
            }
        }
        self.transport.ready.push(slot);
    }

    /// Takes in what came from the peer: whole messages go up, the rest is kept.
    pub(super) fn feed(&mut self, slot: u32, input: &mut [u8]) {
        let Some(Conn { link, .. }) = self.conns.at(slot) else { return };
        if !matches!(link.state, State::Open | State::Closing) {
            return;
        }
        if link.paused {
            link.unread = (&*input).into();
            self.transport.hold(link);
            return;
        }
        // Out of the link while its items are lent to the session.
        let mut decoder = std::mem::take(&mut link.decoder);
        let (mut at, mut frames, mut messages) = (0, 0, 0);
        let failed = loop {
            match decoder.next(&mut input[at..], &self.transport.config.limits) {
                Ok(Step { used, item: None }) => {
                    at += used;
                    break None;
                }
                Ok(Step { used, item: Some(item) }) => {
                    at += used;
                    frames += 1;
                    messages += u32::from(matches!(item, Item::Message(_)));
                    if !self.item(slot, item) {
                        break None;
                    }
                }
                Err(close) => break Some(close),
            }
        };
        decoder.release();
        let Some(Conn { link, .. }) = self.conns.at(slot) else { return };
        self.transport.tally.frames_in += frames;
        link.decoder = decoder;
        if link.paused {
            link.unread = input[at..].into();
        }
        let fits = self.transport.hold(link);
        match failed {
            Some(close) => self.transport.fail(link, close),
            None if !fits => self.transport.fail(link, OVERLOADED),
            None => self.transport.expect_rest(link, frames > 0, messages > 0),
        }
    }

    /// Hands one item on. False: no more of them, now or ever.
    fn item(&mut self, slot: u32, item: Item<'_>) -> bool {
        let Some(Conn { link, .. }) = self.conns.at(slot) else { return false };
        match item {
            _ if matches!(link.state, State::Failing | State::Done | State::Dead) => return false,
            Item::Close(close) => self.transport.peer_closed(link, close),
            Item::Message(message) if link.state == State::Open => {
                self.call(slot, |sessions, cx, session| sessions.message(cx, session, message));
            }
            Item::Ping(payload) if link.state == State::Open => self.transport.answer_ping(link, payload),
            _ => {}
        }
        self.conns.at(slot).is_some_and(|conn| !conn.link.paused)
    }
}
