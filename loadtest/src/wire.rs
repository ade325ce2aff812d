//! One WebSocket client connection after its handshake, on a non-blocking socket: two ways to read and write frames.
//!
//! `bare` is the default and what the figures are made with: it decodes frames in a buffer shared by all sockets, so an
//! idle socket costs this process nothing but its descriptor, and it masks and writes a text frame in one system call.
//! `tungstenite` drives the same socket through tungstenite's own protocol; it is here to compare with.
//! Source of the rules: RFC 6455 §5.2 (framing), §5.3 (masking), §5.5 (control frames).

pub mod tungstenite;

use shared::clock;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Instant;

/// The largest frame the server may send (API.md: message 1 MiB) and its header: the size of the shared buffer.
pub const SCRATCH_BYTES: usize = 1024 * 1024 + 16;
/// Bytes a socket may hold back while its peer does not read; more is refused, for the run has failed by then.
const PENDING_LIMIT: usize = 1024 * 1024;

/// A frame from the server.
#[derive(Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    Text(&'a [u8]),
    Ping(&'a [u8]),
    Pong,
    /// The close code; 1005 where none was given.
    Close(u16),
}

/// Which of the two ways to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Frames read and written on the bare socket
    Bare,
    /// Frames read and written by tungstenite
    Tungstenite,
}

/// What became of something to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    Written,
    /// Held back until the socket is writable again.
    Pending,
}

/// A client connection.
pub enum Wire {
    Bare(Bare),
    Tungstenite(Box<tungstenite::Framed>),
}

impl Wire {
    pub fn new(kind: Kind, stream: TcpStream, seed: u32) -> Self {
        match kind {
            Kind::Bare => Self::Bare(Bare::new(stream, seed)),
            Kind::Tungstenite => Self::Tungstenite(Box::new(tungstenite::Framed::new(stream))),
        }
    }

    /// Reads what is there, hands over each whole frame with the time at which it was read, and says how many bytes
    /// came (0: nothing was there after all). An error, the end of the stream included, means the connection is over.
    pub fn read(&mut self, scratch: &mut [u8], take: &mut dyn FnMut(Frame<'_>, Instant)) -> io::Result<usize> {
        match self {
            Self::Bare(bare) => bare.read(scratch, take),
            Self::Tungstenite(framed) => framed.read(take),
        }
    }

    pub fn send_text(&mut self, text: &[u8]) -> io::Result<Sent> {
        match self {
            Self::Bare(bare) => bare.send(OPCODE_TEXT, text),
            Self::Tungstenite(framed) => framed.send_text(text),
        }
    }

    pub fn send_pong(&mut self, payload: &[u8]) -> io::Result<Sent> {
        match self {
            Self::Bare(bare) => bare.send(OPCODE_PONG, payload),
            // It answers pings by itself.
            Self::Tungstenite(framed) => framed.flush(),
        }
    }

    /// Writes what was held back.
    pub fn flush(&mut self) -> io::Result<Sent> {
        match self {
            Self::Bare(bare) => bare.flush(),
            Self::Tungstenite(framed) => framed.flush(),
        }
    }
}

impl AsFd for Wire {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Bare(bare) => bare.stream.as_fd(),
            Self::Tungstenite(framed) => framed.as_fd(),
        }
    }
}

const OPCODE_TEXT: u8 = 0x1;
const OPCODE_CLOSE: u8 = 0x8;
const OPCODE_PING: u8 = 0x9;
const OPCODE_PONG: u8 = 0xA;

/// Frames on the bare socket.
pub struct Bare {
    stream: TcpStream,
    /// The unfinished frame at the end of the last read.
    tail: Vec<u8>,
    /// Encoded bytes that the socket did not take yet; the next frame is encoded behind them.
    pending: Vec<u8>,
    mask: u32,
}

impl Bare {
    fn new(stream: TcpStream, seed: u32) -> Self {
        Self { stream, tail: Vec::new(), pending: Vec::new(), mask: seed | 1 }
    }

    fn read(&mut self, scratch: &mut [u8], take: &mut dyn FnMut(Frame<'_>, Instant)) -> io::Result<usize> {
        let kept = self.tail.len();
        scratch[..kept].copy_from_slice(&self.tail);
        let came = match self.stream.read(&mut scratch[kept..]) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(came) => came,
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(0),
            Err(e) => return Err(e),
        };
        let at = clock::monotonic();
        let filled = kept + came;
        let mut start = 0;
        while let Some((frame, length)) = decode(&scratch[start..filled], scratch.len())? {
            take(frame, at);
            start += length;
        }
        self.tail.clear();
        self.tail.extend_from_slice(&scratch[start..filled]);
        Ok(came)
    }

    fn send(&mut self, opcode: u8, payload: &[u8]) -> io::Result<Sent> {
        if self.pending.len() > PENDING_LIMIT {
            return Err(io::Error::new(io::ErrorKind::StorageFull, "the server has stopped reading"));
        }
        // A mask per frame, as the RFC asks; it need not be secret here, only different (xorshift32).
        self.mask ^= self.mask << 13;
        self.mask ^= self.mask >> 17;
        self.mask ^= self.mask << 5;
        encode(opcode, payload, self.mask.to_ne_bytes(), &mut self.pending);
        self.flush()
    }

    fn flush(&mut self) -> io::Result<Sent> {
        while !self.pending.is_empty() {
            match self.stream.write(&self.pending) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) if written == self.pending.len() => self.pending.clear(),
                Ok(written) => drop(self.pending.drain(..written)),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(Sent::Pending),
                Err(e) => return Err(e),
            }
        }
        Ok(Sent::Written)
    }
}

/// The first frame in `bytes` and its length in all; none if it is not whole yet. The server sends whole messages in
/// one unmasked frame each; anything else is an error here.
fn decode(bytes: &[u8], limit: usize) -> io::Result<Option<(Frame<'_>, usize)>> {
    let [first, second, rest @ ..] = bytes else { return Ok(None) };
    if second & 0x80 != 0 || first & 0x70 != 0 || first & 0x80 == 0 {
        return Err(broken("a masked, reserved or fragmented frame from the server"));
    }
    let (header, length) = match (second & 0x7f, rest) {
        (126, [a, b, ..]) => (4, usize::from(u16::from_be_bytes([*a, *b]))),
        (127, [a, b, c, d, e, f, g, h, ..]) => {
            let length = u64::from_be_bytes([*a, *b, *c, *d, *e, *f, *g, *h]);
            (10, usize::try_from(length).unwrap_or(usize::MAX))
        }
        (126 | 127, _) => return Ok(None),
        (short, _) => (2, usize::from(short)),
    };
    if length > limit.saturating_sub(header) {
        return Err(broken("a frame over the server's own limit"));
    }
    let Some(payload) = bytes.get(header..header + length) else { return Ok(None) };
    let frame = match first & 0x0f {
        OPCODE_TEXT => Frame::Text(payload),
        OPCODE_PING => Frame::Ping(payload),
        OPCODE_PONG => Frame::Pong,
        OPCODE_CLOSE => Frame::Close(payload.first_chunk().map_or(1005, |code| u16::from_be_bytes(*code))),
        _ => return Err(broken("a frame of an unexpected kind")),
    };
    Ok(Some((frame, header + length)))
}

fn broken(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

/// Appends a whole, masked frame to `out`.
pub fn encode(opcode: u8, payload: &[u8], mask: [u8; 4], out: &mut Vec<u8>) {
    out.push(0x80 | opcode);
    match payload.len() {
        length @ 0..=125 => out.push(0x80 | length as u8),
        length @ 126..=65_535 => {
            out.push(0x80 | 126);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            out.push(0x80 | 127);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(&mask);
    let start = out.len();
    out.extend_from_slice(payload);
    let (chunks, rest) = out[start..].as_chunks_mut::<8>();
    let wide = u64::from_ne_bytes([mask[0], mask[1], mask[2], mask[3], mask[0], mask[1], mask[2], mask[3]]);
    for chunk in chunks {
        *chunk = (u64::from_ne_bytes(*chunk) ^ wide).to_ne_bytes();
    }
    for (byte, key) in rest.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= key;
    }
}

#[cfg(test)]
mod tests;
