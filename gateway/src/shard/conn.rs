//! One connection as the shard keeps it: the link (socket, what is unfinished in both directions, deadlines) and the
//! session layer's own value. An idle connection is this and nothing else.

use super::decoder::Decoder;
use super::transport::gather::List;
use super::transport::outbox::Outbox;
use super::wheel::NEVER;
use super::{Closed, ConnId};
use mio::net::TcpStream;
use socket2::SockRef;
use std::io;
use std::time::Duration;

// The order of fields is kept for `Link`'s sake.
#[repr(C)]
pub(super) struct Conn<T> {
    pub(super) link: Link,
    pub(super) session: T,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum State {
    Open,
    /// Our Close frame is on its way; the peer's is awaited, its messages are ignored.
    Closing,
    /// The peer broke the protocol: our Close frame goes out, what comes in is thrown away until the peer hangs up.
    /// Closing the socket with unread bytes in it would reset it, and the peer would not see the code.
    Failing,
    /// Both Close frames are there: over when ours is written.
    Done,
    /// The socket broke.
    Dead,
}

/// In memory in this order: what a fan-out touches of each receiver comes first and lies together, because the
/// receivers' cache lines are what it mostly waits for.
#[repr(C)]
pub(super) struct Link {
    pub(super) id: ConnId,
    /// Here while the socket takes no more.
    pub(super) outbox: Option<Box<Outbox>>,
    pub(super) list: List,
    pub(super) events_sent: u64,
    pub(super) state: State,
    /// The session wants no messages now.
    pub(super) paused: bool,
    /// On the list of connections to look at when the turn ends.
    pub(super) dirty: bool,
    /// Something did not fit while the session's code ran: it is told when that returns.
    pub(super) overflowed: bool,
    /// Told so, and has not read everything yet.
    pub(super) lagging: bool,
    pub(super) socket: TcpStream,
    pub(super) why: Closed,
    /// The peer will send no more: read to the end, however short the reads are.
    pub(super) hung_up: bool,
    /// Our half of the socket is shut.
    pub(super) shut: bool,
    /// Bytes came since the last beat.
    pub(super) heard: bool,
    pub(super) missed_beats: u8,
    /// Pings answered in this turn.
    pub(super) pongs: u8,
    /// The last of them, which later ones replace.
    pub(super) last_pong: u32,
    pub(super) decoder: Decoder,
    /// Read, but not looked at before the session paused.
    pub(super) unread: Box<[u8]>,
    /// Memory of the two above as counted in `Totals`.
    pub(super) held: usize,
    pub(super) deadlines: Deadlines,
}

/// Ticks of the wheel.
#[derive(Clone, Copy)]
pub(super) struct Deadlines {
    pub(super) beat: u32,
    pub(super) session: u32,
    pub(super) frame: u32,
    pub(super) message: u32,
    pub(super) lagging: u32,
    pub(super) closing: u32,
}

/// Data the peer's machine does not acknowledge for so long means it is gone; the same when its reader stands still.
const UNACKNOWLEDGED: Duration = Duration::from_secs(30);
/// Bytes the kernel takes beyond what it can send: enough to keep the wire busy, and the rest stays in the outbox,
/// where it is bounded and can be thrown away.
const UNSENT: u32 = 32 << 10;

impl Link {
    pub(super) fn open(id: ConnId, socket: std::net::TcpStream, first_beat: u32) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        socket.set_nodelay(true)?;
        let options = SockRef::from(&socket);
        options.set_tcp_user_timeout(Some(UNACKNOWLEDGED))?;
        options.set_tcp_notsent_lowat(UNSENT)?;
        Ok(Self::new(id, TcpStream::from_std(socket), first_beat))
    }

    fn new(id: ConnId, socket: TcpStream, first_beat: u32) -> Self {
        let deadlines = Deadlines {
            beat: first_beat,
            session: NEVER,
            frame: NEVER,
            message: NEVER,
            lagging: NEVER,
            closing: NEVER,
        };
        Link {
            id,
            socket,
            state: State::Open,
            why: Closed::Lost,
            paused: false,
            dirty: false,
            hung_up: false,
            shut: false,
            overflowed: false,
            lagging: false,
            heard: true,
            missed_beats: 0,
            pongs: 0,
            last_pong: 0,
            decoder: Decoder::default(),
            unread: Box::default(),
            held: 0,
            list: List::EMPTY,
            outbox: None,
            events_sent: 0,
            deadlines,
        }
    }

    pub(super) fn slot(&self) -> u32 {
        self.id.slot()
    }

    /// When it is next to be looked at. One that closes has only that left to do.
    pub(super) fn due(&self) -> u32 {
        let Deadlines { beat, session, frame, message, lagging, closing } = self.deadlines;
        match self.state {
            State::Open => beat.min(session).min(frame).min(message).min(lagging),
            _ => closing,
        }
    }

    /// Nothing is left to be written.
    pub(super) fn is_flushed(&self) -> bool {
        self.list.len == 0 && self.outbox.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_connection_is_small() {
        // The slab adds a generation and the wheel twelve bytes; the session layer's part comes on top.
        assert!(size_of::<Conn<()>>() <= 200, "{}", size_of::<Conn<()>>());
    }
}
