//! What happens by the clock: deadlines and beats, as the wheel brings them up.

use super::Reactor;
use crate::shard::codec::Close;
use crate::shard::conn::{Conn, State};
use crate::shard::wheel::{NEVER, ticks};
use crate::shard::{Closed, LAGGING, Sessions};

impl<S: Sessions> Reactor<S> {
    pub(super) fn expire(&mut self) {
        let mut due = Vec::new();
        self.transport.wheel.expire(self.transport.now, &mut due);
        for slot in due {
            self.due(slot);
            if let Some(conn) = self.conns.at(slot) {
                self.transport.schedule(&conn.link);
            }
        }
    }

    /// One of the connection's deadlines has passed, or had before it was moved.
    fn due(&mut self, slot: u32) {
        let now = self.transport.now;
        let Some(Conn { link, .. }) = self.conns.at(slot) else { return };
        if link.state != State::Open {
            if link.deadlines.closing <= now {
                self.transport.broken(link);
            }
            return;
        }
        if link.deadlines.lagging <= now {
            self.transport.cut(link);
            return self.transport.close(link, LAGGING);
        }
        if link.deadlines.frame.min(link.deadlines.message) <= now {
            return self.transport.fail(link, Close { code: 1002, reason: "frame not finished in time" });
        }
        if link.deadlines.session <= now {
            link.deadlines.session = NEVER;
            self.call(slot, |sessions, cx, session| sessions.deadline(cx, session));
        }
        self.beat(slot);
    }

    fn beat(&mut self, slot: u32) {
        let now = self.transport.now;
        let Some(Conn { link, .. }) = self.conns.at(slot) else { return };
        if link.state != State::Open || link.deadlines.beat > now {
            return;
        }
        link.deadlines.beat = now + ticks(self.transport.config.heartbeat) - 1;
        let heard = std::mem::take(&mut link.heard) || link.paused;
        link.missed_beats = if heard { 0 } else { link.missed_beats + 1 };
        if link.missed_beats == 2 {
            link.why = Closed::Silent;
            link.state = State::Dead;
            return self.transport.mark(link);
        }
        self.transport.ping(link);
        self.call(slot, |sessions, cx, session| sessions.beat(cx, session));
    }
}
