//! What a session may do to its own connection while its code runs.

use super::codec::Close;
use super::conn::{Link, State};
use super::transport::Transport;
use super::transport::outbox::Pushed;
use super::wheel::NEVER;
use super::{Class, ConnId};
use bytes::Bytes;
use std::time::Duration;

pub struct Cx<'a> {
    pub(super) link: &'a mut Link,
    pub(super) transport: &'a mut Transport,
}

impl Cx<'_> {
    pub fn id(&self) -> ConnId {
        self.link.id
    }

    /// Hands over whole encoded frames that are no events: replies, heartbeats. They leave when the turn ends. If there
    /// is no room, `Sessions::lagging` follows as soon as the session's code returns, and what is handed over until
    /// then is left out.
    pub fn send(&mut self, bytes: Bytes, class: Class) {
        self.send_events(bytes, 0, class);
    }

    /// The same for frames that are `events` events.
    pub fn send_events(&mut self, bytes: Bytes, events: u32, class: Class) {
        if self.transport.send(self.link, bytes, events, class) == Pushed::Full {
            self.link.overflowed = true;
        }
    }

    /// Says goodbye after everything sent so far. No message, note or beat follows, only `Sessions::closed`, at the
    /// latest when `Config::closing` has passed. A second close changes nothing.
    pub fn close(&mut self, close: Close) {
        self.transport.close(self.link, close);
    }

    /// No message will follow until `resume_reading`. At most one read buffer is held back; the rest waits in the
    /// kernel, and then with the peer, whose pings go unanswered but whose silence is not held against it.
    pub fn pause_reading(&mut self) {
        if self.link.state == State::Open {
            self.link.paused = true;
        }
    }

    pub fn resume_reading(&mut self) {
        self.transport.resume(self.link);
    }

    /// Calls `Sessions::deadline` when `after` has passed, within two tenths of a second. There is one; the last wins.
    pub fn set_deadline(&mut self, after: Duration) {
        self.link.deadlines.session = self.transport.after(after);
        self.transport.schedule(self.link);
    }

    pub fn clear_deadline(&mut self) {
        self.link.deadlines.session = NEVER;
    }

    /// Events handed over for this connection and not thrown away. Sent in a heartbeat, it is the number of events
    /// that go before that heartbeat.
    pub fn events_sent(&self) -> u64 {
        self.link.events_sent
    }

    /// Bytes that wait for a peer that reads too slowly; 0 for all others.
    pub fn backlog(&self) -> usize {
        self.link.outbox.as_ref().map_or(0, |outbox| outbox.cost())
    }
}
