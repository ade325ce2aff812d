//! Three readings of the same bytes: ours, fastwebsockets' and tungstenite's. They must see the same messages in the
//! same order and come to the same kind of end, but for what is listed in `Deviations`: there RFC 6455 forbids what the
//! other one lets pass. Used by the fuzz target and, on its corpus, by `gateway/tests/codec_corpus.rs`.
//!
//! Whoever includes this file has `codec` (ours) and `tungstenite` beside it.

use super::codec::{self, Close, Decoder, Limits, Message, Step};
use super::tungstenite::protocol::WebSocketConfig;
use fastwebsockets::{FragmentCollector, OpCode, Role, WebSocket, WebSocketError};
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Small, so that a fuzzer reaches them.
const LIMITS: Limits = Limits { message: 600, fragments: 8 };

#[derive(Clone, PartialEq, Eq, Debug)]
enum Item {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong,
    Close(Option<(u16, String)>),
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum End {
    /// The bytes ended, and more could have followed.
    More,
    /// A Close frame came.
    Closed,
    Refused(String),
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Reading {
    items: Vec<Item>,
    end: End,
}

/// Reasons of our refusals that the other one does not share. Each is a MUST of RFC 6455, or a bound of ours.
struct Deviations {
    name: &'static str,
    lets_pass: &'static [&'static str],
}

const TUNGSTENITE: Deviations = Deviations {
    name: "tungstenite 0.30.0",
    lets_pass: &[
        "length not well formed", // §5.2: lengths in more bytes than needed
        "control frame too long", // the same, in a control frame
        "close code not allowed", // §7.4.1: handed on, as code 1002
        "too many fragments",     // no such bound
    ],
};

const FASTWEBSOCKETS: Deviations = Deviations {
    name: "fastwebsockets 0.10.0",
    lets_pass: &[
        "unmasked frame",           // §5.1
        "length not well formed",   // §5.2
        "control frame too long",   // §5.5: pings are checked, pongs and closes are not
        "message inside a message", // §5.4: an unfinished one in the place of another
        "text is not UTF-8",        // §8.1: a character cut in two by the end of a message of several frames
        "message too big",          // counts each frame for itself
        "too many fragments",       // no such bound
    ],
};

pub fn check(data: &[u8]) {
    let Some((mode, rest)) = data.split_first() else { return };
    let bytes = if mode & 1 == 1 { build(rest) } else { rest.to_vec() };
    let piece = match usize::from(mode >> 1) {
        0 => bytes.len().max(1),
        size => size,
    };
    let ours = ours(&bytes, piece);
    assert_eq!(
        ours,
        self::ours(&bytes, bytes.len().max(1)),
        "in pieces of {piece} it means something else: {bytes:02x?}"
    );
    agree(&ours, &theirs_tungstenite(&bytes, piece), &TUNGSTENITE, &bytes);
    agree(&ours, &theirs_fastwebsockets(&bytes, piece), &FASTWEBSOCKETS, &bytes);
}

fn agree(ours: &Reading, theirs: &Reading, deviations: &Deviations, bytes: &[u8]) {
    let same = match &ours.end {
        End::Refused(reason) if deviations.lets_pass.contains(&&**reason) => theirs.items.starts_with(&ours.items),
        // We may refuse a frame before it is whole.
        End::Refused(_) => theirs.items == ours.items && theirs.end != End::Closed,
        // IANA registered 1014 later; neither knows it.
        End::Closed if matches!(ours.items.last(), Some(Item::Close(Some((1014, _))))) => true,
        _ => theirs == ours,
    };
    assert!(same, "{} disagrees on {bytes:02x?}\nours:   {ours:?}\ntheirs: {theirs:?}", deviations.name);
}

/// Client frames out of arbitrary bytes, mostly well formed, so that the deeper states are reached.
fn build(mut plan: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    while let [first, second, rest @ ..] = plan {
        let (kind, len) = (second >> 6, usize::from(second & 0x3F));
        let len = if kind == 1 { len * 5 } else { len };
        let (payload, rest) = rest.split_at(len.min(rest.len()));
        plan = rest;
        // Reserved bits seldom.
        out.push(if kind == 3 { *first } else { first & 0x8F });
        let mask = if kind == 2 { [0; 4] } else { [second ^ 0x55, *first, 0xA5, 7] };
        match payload.len() {
            len @ 0..=125 if kind != 3 => out.push(0x80 | len as u8),
            len if kind != 3 || len % 2 == 0 => {
                out.push(0xFE);
                out.extend((len as u16).to_be_bytes());
            }
            len => {
                out.push(0x7F | first & 0x80);
                out.extend((len as u64).to_be_bytes());
            }
        }
        out.extend(mask);
        out.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    }
    out
}

fn ours(bytes: &[u8], piece: usize) -> Reading {
    let mut decoder = Decoder::default();
    let mut items = Vec::new();
    for piece in bytes.chunks(piece) {
        let mut piece = piece.to_vec();
        let mut at = 0;
        loop {
            let item = match decoder.next(&mut piece[at..], &LIMITS) {
                Err(Close { reason, .. }) => return Reading { items, end: End::Refused(reason.to_owned()) },
                Ok(Step { item: None, .. }) => break,
                Ok(Step { used, item: Some(item) }) => {
                    at += used;
                    item
                }
            };
            items.push(match item {
                codec::Item::Fragment => continue,
                codec::Item::Message(Message::Text(text)) => Item::Text(text.to_owned()),
                codec::Item::Message(Message::Binary(bytes)) => Item::Binary(bytes.to_vec()),
                codec::Item::Ping(payload) => Item::Ping(payload.to_vec()),
                codec::Item::Pong => Item::Pong,
                codec::Item::Close(close) => {
                    items.push(Item::Close(close.map(|(code, reason)| (code, reason.to_owned()))));
                    return Reading { items, end: End::Closed };
                }
            });
        }
        let most = LIMITS.message * 2 + 1_024;
        assert!(decoder.held() <= most, "{} bytes held", decoder.held());
    }
    Reading { items, end: End::More }
}

/// Gives its bytes in pieces, and takes everything.
struct Pieces<'a> {
    bytes: &'a [u8],
    piece: usize,
}

impl Pieces<'_> {
    fn next(&mut self, most: usize) -> &[u8] {
        let (piece, rest) = self.bytes.split_at(self.piece.min(most).min(self.bytes.len()));
        self.bytes = rest;
        piece
    }
}

impl io::Read for Pieces<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let piece = self.next(buffer.len());
        buffer[..piece.len()].copy_from_slice(piece);
        if piece.is_empty() { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(piece.len()) }
    }
}

impl io::Write for Pieces<'_> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        Ok(buffer.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsyncRead for Pieces<'_> {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, to: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let most = to.remaining();
        to.put_slice(self.next(most));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Pieces<'_> {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(buffer.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

fn theirs_tungstenite(bytes: &[u8], piece: usize) -> Reading {
    use super::tungstenite::{Error, Message, WebSocket, protocol::Role};
    let config = WebSocketConfig::default()
        .max_message_size(Some(LIMITS.message))
        .max_frame_size(Some(LIMITS.message))
        .read_buffer_size(1 << 10);
    let mut socket = WebSocket::from_raw_socket(Pieces { bytes, piece }, Role::Server, Some(config));
    let mut items = Vec::new();
    loop {
        items.push(match socket.read() {
            Ok(Message::Text(text)) => Item::Text(text.to_string()),
            Ok(Message::Binary(bytes)) => Item::Binary(bytes.to_vec()),
            Ok(Message::Ping(payload)) => Item::Ping(payload.to_vec()),
            Ok(Message::Pong(_)) => Item::Pong,
            Ok(Message::Frame(_)) => continue,
            Ok(Message::Close(close)) => {
                items.push(Item::Close(close.map(|close| (close.code.into(), close.reason.to_string()))));
                return Reading { items, end: End::Closed };
            }
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                return Reading { items, end: End::More };
            }
            Err(error) => return Reading { items, end: End::Refused(error.to_string()) },
        });
    }
}

fn theirs_fastwebsockets(bytes: &[u8], piece: usize) -> Reading {
    let mut socket = WebSocket::after_handshake(Pieces { bytes, piece }, Role::Server);
    // It refuses what is as long as its limit; and it is to show us the pings.
    socket.set_max_message_size(LIMITS.message + 1);
    socket.set_auto_pong(false);
    let mut socket = FragmentCollector::new(socket);
    let mut items = Vec::new();
    loop {
        // The stream is always ready, so the future is after one poll.
        let Poll::Ready(read) = pin!(socket.read_frame()).poll(&mut Context::from_waker(Waker::noop())) else {
            unreachable!("nothing to wait for");
        };
        let frame = match read {
            Ok(frame) => frame,
            Err(WebSocketError::UnexpectedEOF) => return Reading { items, end: End::More },
            Err(error) => return Reading { items, end: End::Refused(error.to_string()) },
        };
        let payload = frame.payload.to_vec();
        items.push(match frame.opcode {
            // Not checked where a message of several frames ends inside a character.
            OpCode::Text => Item::Text(String::from_utf8_lossy(&payload).into_owned()),
            OpCode::Binary => Item::Binary(payload),
            OpCode::Ping => Item::Ping(payload),
            OpCode::Pong => Item::Pong,
            OpCode::Continuation => unreachable!("the collector joins them"),
            OpCode::Close => {
                let code = payload.get(..2).map(|code| u16::from_be_bytes([code[0], code[1]]));
                let reason = |code| (code, String::from_utf8_lossy(&payload[2..]).into_owned());
                items.push(Item::Close(code.map(reason)));
                return Reading { items, end: End::Closed };
            }
        });
    }
}
