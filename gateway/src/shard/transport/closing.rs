//! How a connection ends: the closing handshake (RFC 6455 §7) from either side, and what breaks.

use super::Transport;
use crate::shard::Closed;
use crate::shard::codec::{self, Close};
use crate::shard::conn::{Link, State};
use std::net::Shutdown;

impl Transport {
    /// Begins the closing handshake, after everything handed over so far.
    pub(in crate::shard) fn close(&mut self, link: &mut Link, close: Close) {
        self.begin_close(link, close, State::Closing);
    }

    /// The peer broke the protocol: our Close frame is the last thing it gets to see.
    pub(in crate::shard) fn fail(&mut self, link: &mut Link, close: Close) {
        self.begin_close(link, close, State::Failing);
    }

    fn begin_close(&mut self, link: &mut Link, close: Close, state: State) {
        if link.state != State::Open {
            if link.state == State::Closing {
                link.state = state;
            }
            return;
        }
        self.control(link, codec::close_frame(Some((close.code, close.reason))));
        link.state = state;
        link.why = Closed::Us(close.code);
        self.end_soon(link);
    }

    /// The peer's Close frame is here: ours goes out, if it has not, and then the socket is done with.
    pub(in crate::shard) fn peer_closed(&mut self, link: &mut Link, close: Option<(u16, &str)>) {
        if link.state == State::Open {
            // The code comes back as it came, the reason does not (RFC 6455 §5.5.1 asks for no more).
            self.control(link, codec::close_frame(close.map(|(code, _)| (code, ""))));
            link.why = Closed::Peer(close.map(|(code, _)| code));
        }
        link.state = State::Done;
        self.end_soon(link);
    }

    fn end_soon(&mut self, link: &mut Link) {
        self.mark(link);
        self.resume(link);
        link.overflowed = false;
        link.deadlines.closing = self.after(self.config.closing);
        self.schedule(link);
    }

    pub(in crate::shard) fn broken(&mut self, link: &mut Link) {
        if link.state == State::Open {
            link.why = Closed::Lost;
        }
        link.state = State::Dead;
        self.mark(link);
    }

    /// No more will be written: the peer sees the end, and its own end is awaited.
    pub(in crate::shard) fn shut(&mut self, link: &mut Link) {
        if !std::mem::replace(&mut link.shut, true) && link.socket.shutdown(Shutdown::Write).is_err() {
            self.broken(link);
        }
    }
}
