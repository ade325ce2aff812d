//! WebSocket frames (RFC 6455 §5), server side, as pure functions: how a header is read and refused, how frames to
//! clients are written. `decoder` turns a peer's bytes into messages with these; the session layer encodes with them.
//!
//! No extensions: reserved bits are refused, nothing is compressed. Frames to clients carry no mask, so the same bytes
//! serve all receivers.

pub use super::decoder::{Decoder, Item, Step};
use bytes::{BufMut, Bytes};

/// Bounds on what one peer may send.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of a message, over all its fragments; so also of a frame.
    pub message: usize,
    /// Frames of one message. Tiny fragments are cheap to send and dear to gather.
    pub fragments: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { message: 1 << 20, fragments: 1024 }
    }
}

/// A whole message from a peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Message<'a> {
    Text(&'a str),
    Binary(&'a [u8]),
}

/// Code and reason of a Close frame (RFC 6455 §7.4). The reason is at most 123 bytes; what is longer is cut.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Close {
    pub code: u16,
    pub reason: &'static str,
}

pub(crate) const fn violation(reason: &'static str) -> Close {
    Close { code: 1002, reason }
}
pub(crate) const NOT_UTF8: Close = Close { code: 1007, reason: "text is not UTF-8" };
pub(crate) const TOO_BIG: Close = Close { code: 1009, reason: "message too big" };
pub(crate) const TOO_MANY_FRAGMENTS: Close = Close { code: 1009, reason: "too many fragments" };

/// RFC 6455 §5.5: a control frame's payload.
pub const CONTROL_MAX: usize = 125;
/// Two bytes, up to eight of length, four of mask.
pub(crate) const HEADER_MAX: usize = 14;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Opcode {
    Continuation = 0x0,
    Text = 0x1,
    Binary = 0x2,
    Close = 0x8,
    Ping = 0x9,
    Pong = 0xA,
}

impl Opcode {
    fn read(bits: u8) -> Option<Self> {
        Some(match bits {
            0x0 => Opcode::Continuation,
            0x1 => Opcode::Text,
            0x2 => Opcode::Binary,
            0x8 => Opcode::Close,
            0x9 => Opcode::Ping,
            0xA => Opcode::Pong,
            _ => return None,
        })
    }

    pub(crate) fn is_control(self) -> bool {
        self as u8 & 0x8 != 0
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Header {
    pub(crate) fin: bool,
    pub(crate) opcode: Opcode,
    pub(crate) len: u64,
    pub(crate) mask: [u8; 4],
}

/// Reads a client's frame header from the front of `bytes`; also how long it is. `None`: it is not all there yet.
/// What can be refused by the first two bytes is, before the rest has come.
pub(crate) fn header(bytes: &[u8]) -> Result<Option<(Header, usize)>, Close> {
    let [first, second, rest @ ..] = bytes else { return Ok(None) };
    if first & 0x70 != 0 {
        return Err(violation("reserved bits set"));
    }
    let opcode = Opcode::read(first & 0x0F).ok_or(violation("reserved opcode"))?;
    let fin = first & 0x80 != 0;
    if second & 0x80 == 0 {
        return Err(violation("unmasked frame"));
    }
    let short = second & 0x7F;
    if opcode.is_control() && !fin {
        return Err(violation("fragmented control frame"));
    }
    if opcode.is_control() && usize::from(short) > CONTROL_MAX {
        return Err(violation("control frame too long"));
    }
    let (len, rest, size) = match (short, rest) {
        (126, [a, b, rest @ ..]) => (u64::from(u16::from_be_bytes([*a, *b])), rest, 8),
        (127, [a, b, c, d, e, f, g, h, rest @ ..]) => {
            (u64::from_be_bytes([*a, *b, *c, *d, *e, *f, *g, *h]), rest, HEADER_MAX)
        }
        (126 | 127, _) => return Ok(None),
        (len, rest) => (u64::from(len), rest, 6),
    };
    // RFC 6455 §5.2: "the minimal number of bytes MUST be used", and "the most significant bit MUST be 0".
    if (short == 126 && len < 126) || (short == 127 && len <= u64::from(u16::MAX)) || len >> 63 != 0 {
        return Err(violation("length not well formed"));
    }
    let [a, b, c, d, ..] = *rest else { return Ok(None) };
    Ok(Some((Header { fin, opcode, len, mask: [a, b, c, d] }, size)))
}

/// Takes the mask off (or puts it on) in place; `done` bytes of the payload went before these.
pub(crate) fn unmask(payload: &mut [u8], mask: [u8; 4], done: usize) {
    let key: [u8; 8] = std::array::from_fn(|i| mask[(done + i) % 4]);
    let word = u64::from_ne_bytes(key);
    let mut words = payload.chunks_exact_mut(8);
    for chunk in &mut words {
        let bytes: [u8; 8] = (&*chunk).try_into().expect("cannot fail because the chunks are eight bytes");
        chunk.copy_from_slice(&(u64::from_ne_bytes(bytes) ^ word).to_ne_bytes());
    }
    for (byte, key) in words.into_remainder().iter_mut().zip(key) {
        *byte ^= key;
    }
}

/// The payload of a Close frame: nothing, or a code with a reason (RFC 6455 §5.5.1 and §7.4).
pub(crate) fn close_payload(payload: &[u8]) -> Result<Option<(u16, &str)>, Close> {
    let (code, reason) = match payload {
        [] => return Ok(None),
        [_] => return Err(violation("close code cut short")),
        [a, b, reason @ ..] => (u16::from_be_bytes([*a, *b]), reason),
    };
    // 1004–1006 and 1015 are never sent; 1012–1014 are IANA's later registrations; 3000–4999 are libraries' and ours.
    if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
        return Err(violation("close code not allowed"));
    }
    let reason = simdutf8::basic::from_utf8(reason).map_err(|_| NOT_UTF8)?;
    Ok(Some((code, reason)))
}

fn put_header(out: &mut impl BufMut, opcode: Opcode, len: usize) {
    out.put_u8(0x80 | opcode as u8);
    match len {
        0..=125 => out.put_u8(len as u8),
        126..=0xFFFF => {
            out.put_u8(126);
            out.put_u16(len as u16);
        }
        _ => {
            out.put_u8(127);
            out.put_u64(len as u64);
        }
    }
}

fn frame(opcode: Opcode, payload: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(payload.len() + 10);
    put_header(&mut out, opcode, payload.len());
    out.extend_from_slice(payload);
    out.into()
}

/// One text frame to clients. The payload is UTF-8 by the caller's word.
pub fn text_frame(payload: &[u8]) -> Bytes {
    frame(Opcode::Text, payload)
}

/// One binary frame to clients.
pub fn binary_frame(payload: &[u8]) -> Bytes {
    frame(Opcode::Binary, payload)
}

/// One text frame whose payload is the parts joined: a prefix and a body need no string of their own.
pub fn append_text_frame(out: &mut impl BufMut, parts: &[&[u8]]) {
    put_header(out, Opcode::Text, parts.iter().map(|part| part.len()).sum());
    for part in parts {
        out.put_slice(part);
    }
}

pub(crate) const PING: Bytes = Bytes::from_static(&[0x89, 0]);
const EMPTY_PONG: Bytes = Bytes::from_static(&[0x8A, 0]);

pub(crate) fn pong_frame(payload: &[u8]) -> Bytes {
    if payload.is_empty() { EMPTY_PONG } else { frame(Opcode::Pong, payload) }
}

/// A Close frame; an empty one for `None`, which answers a peer's empty one.
pub fn close_frame(close: Option<(u16, &str)>) -> Bytes {
    let Some((code, reason)) = close else { return frame(Opcode::Close, &[]) };
    let mut payload = code.to_be_bytes().to_vec();
    let mut end = reason.len().min(CONTROL_MAX - 2);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    payload.extend_from_slice(&reason.as_bytes()[..end]);
    frame(Opcode::Close, &payload)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lengths_take_the_fewest_bytes() {
        for (len, head) in [(0, 2), (125, 2), (126, 4), (65_535, 4), (65_536, 10)] {
            assert_eq!(text_frame(&vec![b'x'; len]).len(), head + len);
        }
    }

    #[test]
    fn a_long_reason_is_cut_between_characters() {
        let frame = close_frame(Some((1001, &"ö".repeat(100))));
        assert_eq!((frame[1], frame.len()), (124, 126));
        assert!(std::str::from_utf8(&frame[4..]).is_ok());
        assert_eq!(&close_frame(None)[..], [0x88, 0]);
    }

    #[test]
    fn joined_parts_make_one_frame() {
        let mut out = Vec::new();
        append_text_frame(&mut out, &[b"{\"event\":", b"1", b"}"]);
        assert_eq!(out, text_frame(b"{\"event\":1}"));
    }

    proptest! {
        /// Against the definition in RFC 6455 §5.3, from any place in the payload.
        #[test]
        fn masking_is_octet_i_modulo_four(payload in prop::collection::vec(any::<u8>(), 0..100), mask: [u8; 4], done in 0usize..9) {
            let mut masked = payload.clone();
            unmask(&mut masked, mask, done);
            let plain: Vec<u8> = payload.iter().enumerate().map(|(i, byte)| byte ^ mask[(done + i) % 4]).collect();
            prop_assert_eq!(masked, plain);
        }

        /// What we write, a client can read: the header says what follows.
        #[test]
        fn frames_say_their_length(payload in prop::collection::vec(any::<u8>(), 0..70_000)) {
            let frame = binary_frame(&payload);
            let (len, head) = match frame[1] {
                126 => (u64::from(u16::from_be_bytes([frame[2], frame[3]])), 4),
                127 => (u64::from_be_bytes(frame[2..10].try_into().unwrap()), 10),
                len => (u64::from(len), 2),
            };
            prop_assert_eq!((frame[0], len), (0x82, payload.len() as u64));
            prop_assert_eq!(&frame[head..], &payload[..]);
        }
    }
}
