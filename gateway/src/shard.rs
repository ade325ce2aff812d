//! The edge: sockets after their handshake. No async, no chat, no JSON.
//!
//! hyper answers the handshake (`server`, `upgrade`) and lets go of the bare socket; a *shard* adopts it: one thread
//! per core with one epoll loop (`reactor`), a slab of connections, one read buffer and one timing wheel, all shared
//! by its connections. Frames come in through the `decoder`, messages go to the session layer above (`Sessions`), and
//! what is to be written leaves once per turn of the loop (`gather`), or waits in a bounded `outbox` for a slow peer.
//!
//! Order: what is handed over for one connection, by `Cx::send`, `Shards::deliver` or a note, leaves in the order of
//! those calls. What does not fit is never left out silently: the session is told `lagging`.

pub mod codec;
mod conn;
mod context;
pub mod decoder;
mod handle;
mod intake;
mod reactor;
mod slab;
mod tally;
mod transport;
mod wheel;

pub use codec::{Close, Message};
pub use context::Cx;
pub use handle::{Counts, Shards, Stopped};

use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;

/// One connection: shard, generation and slot. An id outlives its connection harmlessly: it then names nobody.
/// Ids sort by shard, and `Shards::deliver` is cheapest for lists that are sorted.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(u64);

const SLOT_BITS: u32 = 24;
const GENERATION_BITS: u32 = 32;

impl ConnId {
    fn new(shard: usize, generation: u32, slot: u32) -> Self {
        ConnId((shard as u64) << (SLOT_BITS + GENERATION_BITS) | u64::from(generation) << SLOT_BITS | u64::from(slot))
    }

    pub(crate) fn shard(self) -> usize {
        (self.0 >> (SLOT_BITS + GENERATION_BITS)) as usize
    }

    fn generation(self) -> u32 {
        (self.0 >> SLOT_BITS) as u32
    }

    fn slot(self) -> u32 {
        self.0 as u32 & ((1 << SLOT_BITS) - 1)
    }
}

impl std::fmt::Debug for ConnId {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(to, "conn {}.{}.{}", self.shard(), self.slot(), self.generation())
    }
}

/// What happens to a frame that meets a slow peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Class {
    /// Waits until the outbox is full; then the whole backlog goes and the session is told (`Sessions::lagging`).
    Durable,
    /// Dropped once the outbox is half full. Typing and presence: the next one says it again.
    Ephemeral,
}

/// Why a connection is gone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Closed {
    /// The peer sent a Close frame, with this code if it gave one.
    Peer(Option<u16>),
    /// We sent a Close frame: the session's, or the shard's for a protocol violation, lagging or a panic.
    Us(u16),
    /// The socket ended or broke without a Close frame.
    Lost,
    /// Nothing was heard from the peer for two heartbeats.
    Silent,
}

/// Close codes the shard itself uses. 1000–1015 are RFC 6455 §7.4.1's, 40xx ours: come back at once.
pub const LAGGING: Close = Close { code: 4000, reason: "lagging" };
/// Unfinished messages of all peers together would take more memory than `Config::inbound`.
pub const OVERLOADED: Close = Close { code: 4001, reason: "overloaded" };
/// The session's code panicked; the panic ended this session and nothing else.
pub const INTERNAL: Close = Close { code: 1011, reason: "internal error" };

/// The session layer: one value per shard, run on the shard's own thread. Nothing in it may block: all connections of
/// the shard wait meanwhile. A panic in a call ends that session (1011) and is counted.
pub trait Sessions: Send + 'static {
    /// Kept per connection inside the slab; every byte of it is paid by every idle connection.
    type Session: Send + 'static;
    /// What other threads may tell one session (`Shards::note`).
    type Note: Send + 'static;

    /// The connection is the shard's. Called before anything else, and exactly once.
    fn opened(&mut self, cx: &mut Cx<'_>, session: &mut Self::Session);

    /// A whole message, at most `Limits::message` bytes; a text is valid UTF-8. Borrowed from the shard's read buffer.
    fn message(&mut self, cx: &mut Cx<'_>, session: &mut Self::Session, message: Message<'_>);

    fn note(&mut self, cx: &mut Cx<'_>, session: &mut Self::Session, note: Self::Note);

    /// What waited for this peer was thrown away, replies too: send one `resync`. Everything handed over from here on
    /// will follow it.
    fn lagging(&mut self, cx: &mut Cx<'_>, session: &mut Self::Session);

    /// Once per `Config::heartbeat`: send the protocol's own heartbeat. A WebSocket ping goes out in the same write.
    fn beat(&mut self, cx: &mut Cx<'_>, session: &mut Self::Session);

    /// The deadline set by `Cx::set_deadline` has passed.
    fn deadline(&mut self, cx: &mut Cx<'_>, session: &mut Self::Session);

    /// The connection is gone; called exactly once for each `opened`.
    fn closed(&mut self, id: ConnId, session: Self::Session, why: Closed);
}

/// Whole frames for many connections: made once, shared by all of them.
#[derive(Clone)]
pub struct Delivery {
    /// One or more whole encoded frames (`codec::text_frame`).
    pub bytes: Bytes,
    /// How many events they are; added to each receiver's `Cx::events_sent`.
    pub events: u32,
    pub class: Class,
    /// Sorted lists are split between shards most cheaply; any order is right.
    pub to: Arc<[ConnId]>,
}

/// Sizes and times. Every default is a limit of the interface or follows from one.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Sizes of what comes in.
    pub limits: codec::Limits,
    /// A ping and the session's own heartbeat go out this often; who is silent for two of them is gone.
    pub heartbeat: Duration,
    /// A frame that has begun must be whole within this time,
    pub frame: Duration,
    /// and a message of several frames within this.
    pub message: Duration,
    /// For the peer's half of the closing handshake.
    pub closing: Duration,
    /// A session told `lagging` must have read what is left within this time, or is closed (4000).
    pub lagging: Duration,
    /// Bytes that may wait for one peer, with 64 more counted for each entry.
    pub outbox: usize,
    /// The same for all peers of the process together; beyond it the longest outboxes are cut first.
    pub outboxes: usize,
    /// Bytes of unfinished messages of all peers together; who asks for more is closed (4001).
    pub inbound: usize,
    /// Bytes of deliveries that may wait for one shard; beyond it the connections they were for are told `lagging`.
    pub intake: usize,
    /// Of the one read buffer per shard. A paused connection may hold back at most this much.
    pub read_buffer: usize,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            limits: codec::Limits::default(),
            heartbeat: Duration::from_secs(25),
            frame: Duration::from_secs(10),
            message: Duration::from_secs(60),
            closing: Duration::from_secs(5),
            lagging: Duration::from_secs(10),
            outbox: 256 << 10,
            outboxes: 512 << 20,
            inbound: 256 << 20,
            intake: 64 << 20,
            read_buffer: 64 << 10,
        }
    }
}
