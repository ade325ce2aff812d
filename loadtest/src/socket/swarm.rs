//! The sockets of a run in one epoll loop: read, hand texts to the run, answer pings and heartbeats, hold back what a
//! socket does not take. One thread; edge-triggered, and a read that does not fill the buffer has emptied the socket, so
//! each arrival costs one read; few sockets per turn, so that sending is never far away.
//! Waiting ends by a timerfd: epoll's own timeout counts in milliseconds, and a message must not leave that late.

use crate::wire::{Frame, Kind, SCRATCH_BYTES, Sent, Wire};
use anyhow::{Context, Result};
use rustix::event::{Timespec, epoll};
use rustix::io::Errno;
use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create, timerfd_settime};
use serde::Serialize;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

/// Sockets served before the caller gets its turn again: about a tenth of a millisecond.
const TURN: usize = 32;
/// The timer's place among the epoll's tokens; no socket has it.
const TIMER: u64 = u64::MAX;
const ZERO: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };
const ENDED: epoll::EventFlags = epoll::EventFlags::RDHUP.union(epoll::EventFlags::HUP).union(epoll::EventFlags::ERR);
const HEARTBEAT_EVENT: &[u8] = b"{\"event\":\"heartbeat\"";
const HEARTBEAT_COMMAND: &[u8] = b"{\"cmd\":\"heartbeat\"}";

/// What has passed through since the last reset.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Tally {
    /// read(2) calls that brought something.
    pub reads: u64,
    pub bytes: u64,
    pub frames: u64,
    pub pings: u64,
    pub heartbeats: u64,
    /// Sockets that ended, whoever ended them.
    pub closed: u64,
    /// Why the last of them did.
    pub last_close: Option<String>,
}

/// All sockets, by place.
pub struct Swarm {
    epoll: OwnedFd,
    timer: OwnedFd,
    sockets: Vec<Option<Wire>>,
    scratch: Vec<u8>,
    ready: Vec<epoll::Event>,
    pub tally: Tally,
}

impl Swarm {
    pub fn new(places: usize) -> Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).context("creating an epoll")?;
        let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)
            .context("creating a timer")?;
        epoll::add(&epoll, &timer, epoll::EventData::new_u64(TIMER), epoll::EventFlags::IN)
            .context("watching a timer")?;
        let sockets = (0..places).map(|_| None).collect();
        Ok(Self {
            epoll,
            timer,
            sockets,
            scratch: vec![0; SCRATCH_BYTES],
            ready: Vec::with_capacity(TURN),
            tally: Tally::default(),
        })
    }

    /// Takes in an upgraded socket; one that was in this place before is closed.
    pub fn put(&mut self, place: usize, stream: TcpStream, kind: Kind) -> Result<()> {
        let wire = Wire::new(kind, stream, (place as u32).wrapping_mul(0x9E37_79B9));
        let flags = epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::RDHUP | epoll::EventFlags::ET;
        epoll::add(&self.epoll, &wire, epoll::EventData::new_u64(place as u64), flags).context("watching a socket")?;
        self.sockets[place] = Some(wire);
        Ok(())
    }

    pub fn is_open(&self, place: usize) -> bool {
        self.sockets[place].is_some()
    }

    /// The places whose socket has ended.
    pub fn gaps(&self) -> Vec<usize> {
        (0..self.sockets.len()).filter(|place| !self.is_open(*place)).collect()
    }

    /// Gives a socket up; it counts as closed.
    pub fn close(&mut self, place: usize) {
        self.end(place, "given up here");
    }

    /// The address at this end of a socket.
    pub fn local(&self, place: usize) -> Option<SocketAddr> {
        let address = rustix::net::getsockname(self.sockets[place].as_ref()?).ok()?;
        SocketAddr::try_from(address).ok()
    }

    /// Sends a text; false if the socket has ended. What it does not take at once is held back.
    pub fn send(&mut self, place: usize, text: &[u8]) -> bool {
        let Some(wire) = &mut self.sockets[place] else { return false };
        let sent = wire.send_text(text);
        self.settle(place, sent)
    }

    /// Waits at most `wait` for sockets to become readable and serves up to `TURN` of them; `take` gets place, text
    /// and time of reading.
    pub fn poll(&mut self, wait: Duration, take: &mut dyn FnMut(usize, &[u8], Instant)) -> Result<()> {
        self.ready.clear();
        let timeout = if wait.is_zero() { Some(&ZERO) } else { None };
        if !wait.is_zero() {
            self.arm(wait)?;
        }
        match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut self.ready), timeout) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(e) => return Err(e).context("waiting for sockets"),
        }
        let ready = std::mem::take(&mut self.ready);
        for event in &ready {
            let (flags, place) = (event.flags, event.data.u64() as usize);
            if event.data.u64() == TIMER {
                // Only to make it unreadable again.
                let _ = rustix::io::read(&self.timer, &mut [0; 8]);
                continue;
            }
            if flags.contains(epoll::EventFlags::OUT) {
                self.flush(place);
            }
            if flags.contains(epoll::EventFlags::IN) {
                self.serve(place, take);
            }
            // The end may have come with the last bytes, and is not told again.
            if flags.intersects(ENDED) {
                self.serve(place, take);
                self.end(place, "the connection ended");
            }
        }
        self.ready = ready;
        Ok(())
    }

    /// Sets the timer, whatever it was set to.
    fn arm(&self, wait: Duration) -> Result<()> {
        let it_value = Timespec { tv_sec: wait.as_secs() as i64, tv_nsec: i64::from(wait.subsec_nanos()) };
        let once = Itimerspec { it_interval: ZERO, it_value };
        timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &once).context("setting a timer")?;
        Ok(())
    }

    fn serve(&mut self, place: usize, take: &mut dyn FnMut(usize, &[u8], Instant)) {
        let Some(wire) = &mut self.sockets[place] else { return };
        let tally = &mut self.tally;
        let (mut beats, mut ping, mut close) = (0_u64, None, None);
        let came = wire.read(&mut self.scratch, &mut |frame, at| {
            tally.frames += 1;
            match frame {
                Frame::Text(text) if text.starts_with(HEARTBEAT_EVENT) => beats += 1,
                Frame::Text(text) => take(place, text, at),
                // Of several pings the last is enough (RFC 6455 §5.5.3).
                Frame::Ping(payload) => ping = Some(payload.to_vec()),
                Frame::Pong => {}
                Frame::Close(code) => close = Some(code),
            }
        });
        match came {
            Ok(bytes) => {
                tally.bytes += bytes as u64;
                tally.reads += u64::from(bytes > 0);
                tally.heartbeats += beats;
                tally.pings += u64::from(ping.is_some());
            }
            Err(e) => return self.end(place, &e.to_string()),
        }
        if let Some(code) = close {
            return self.end(place, &format!("close {code}"));
        }
        if let Some(payload) = ping {
            let sent = wire.send_pong(&payload);
            self.settle(place, sent);
        }
        if beats > 0 {
            self.send(place, HEARTBEAT_COMMAND);
        }
    }

    fn flush(&mut self, place: usize) {
        let Some(wire) = &mut self.sockets[place] else { return };
        let sent = wire.flush();
        self.settle(place, sent);
    }

    /// What is pending goes out when the socket says that it is writable again.
    fn settle(&mut self, place: usize, sent: std::io::Result<Sent>) -> bool {
        if let Err(e) = &sent {
            self.end(place, &e.to_string());
        }
        sent.is_ok()
    }

    /// Dropping the socket closes it, and a closed descriptor leaves the epoll by itself.
    fn end(&mut self, place: usize, why: &str) {
        if self.sockets[place].take().is_some() {
            self.tally.closed += 1;
            self.tally.last_close = Some(why.to_owned());
        }
    }
}
