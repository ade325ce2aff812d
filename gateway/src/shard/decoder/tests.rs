//! The decoder against every split, every refusal, and random traffic.

use super::*;
use proptest::prelude::*;

/// An item that owns what it says.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Seen {
    Text(String),
    Binary(Vec<u8>),
    Fragment,
    Ping(Vec<u8>),
    Pong,
    Close(Option<(u16, String)>),
    Refused(u16),
}

impl From<Item<'_>> for Seen {
    fn from(item: Item<'_>) -> Self {
        match item {
            Item::Message(Message::Text(text)) => Seen::Text(text.to_owned()),
            Item::Message(Message::Binary(bytes)) => Seen::Binary(bytes.to_vec()),
            Item::Fragment => Seen::Fragment,
            Item::Ping(payload) => Seen::Ping(payload.to_vec()),
            Item::Pong => Seen::Pong,
            Item::Close(close) => Seen::Close(close.map(|(code, reason)| (code, reason.to_owned()))),
        }
    }
}

fn read<'a>(decoder: &mut Decoder, limits: &Limits, pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<Seen> {
    let mut seen = Vec::new();
    for piece in pieces {
        let mut piece = piece.to_vec();
        let mut at = 0;
        loop {
            match decoder.next(&mut piece[at..], limits) {
                Ok(Step { used, item }) => {
                    at += used;
                    let Some(item) = item else { break };
                    seen.push(item.into());
                }
                Err(close) => {
                    seen.push(Seen::Refused(close.code));
                    return seen;
                }
            }
        }
        assert_eq!(at, piece.len(), "no item, and input left over");
    }
    seen
}

fn read_all(bytes: &[u8]) -> Vec<Seen> {
    read(&mut Decoder::default(), &Limits::default(), [bytes])
}

const MASK: [u8; 4] = [0x37, 0xFA, 0x21, 0x3D];

/// A client's frame.
fn frame(fin: bool, opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![u8::from(fin) << 7 | opcode];
    match payload.len() {
        len @ 0..=125 => out.push(0x80 | len as u8),
        len @ 126..=0xFFFF => {
            out.push(0x80 | 126);
            out.extend((len as u16).to_be_bytes());
        }
        len => {
            out.push(0x80 | 127);
            out.extend((len as u64).to_be_bytes());
        }
    }
    out.extend(MASK);
    out.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    out
}

fn text(of: &str) -> Seen {
    Seen::Text(of.to_owned())
}

/// Some of everything, and what it means.
fn medley() -> (Vec<u8>, Vec<Seen>) {
    let long = "käse ".repeat(40);
    let bytes = [
        frame(true, 1, b"hello"),
        frame(true, 2, &[0, 255, 128]),
        frame(true, 9, b"are you there"),
        frame(false, 1, "gr".as_bytes()),
        frame(true, 10, b""),
        frame(false, 0, &"ü".as_bytes()[..1]),
        frame(false, 0, b""),
        frame(true, 0, &"üße".as_bytes()[1..]),
        frame(true, 1, long.as_bytes()),
        frame(true, 1, b""),
        frame(false, 2, b"a"),
        frame(true, 9, b""),
        frame(true, 0, b"b"),
        frame(true, 8, &[&1000u16.to_be_bytes()[..], "adé".as_bytes()].concat()),
    ];
    let seen = vec![
        text("hello"),
        Seen::Binary(vec![0, 255, 128]),
        Seen::Ping(b"are you there".to_vec()),
        Seen::Fragment,
        Seen::Pong,
        Seen::Fragment,
        Seen::Fragment,
        text("grüße"),
        Seen::Text(long),
        text(""),
        Seen::Fragment,
        Seen::Ping(Vec::new()),
        Seen::Binary(b"ab".to_vec()),
        Seen::Close(Some((1000, "adé".to_owned()))),
    ];
    (bytes.concat(), seen)
}

#[test]
fn whole_at_once() {
    let (bytes, seen) = medley();
    assert_eq!(read_all(&bytes), seen);
}

#[test]
fn split_at_every_byte() {
    let (bytes, seen) = medley();
    for at in 0..=bytes.len() {
        let (front, back) = bytes.split_at(at);
        assert_eq!(read(&mut Decoder::default(), &Limits::default(), [front, back]), seen, "split at {at}");
    }
}

#[test]
fn byte_by_byte_and_in_every_size_of_piece() {
    let (bytes, seen) = medley();
    for size in 1..40 {
        let mut decoder = Decoder::default();
        assert_eq!(read(&mut decoder, &Limits::default(), bytes.chunks(size)), seen, "pieces of {size}");
        assert_eq!(decoder.held(), 0, "idle again, and still holding memory");
    }
}

#[test]
fn refusals_have_their_codes() {
    let unmasked = [0x81, 0x02, b'h', b'i'];
    let masked = |head: &[u8]| [head, &MASK, &[0; 8]].concat();
    let cases: [(&str, Vec<u8>, u16); 19] = [
        ("unmasked", unmasked.to_vec(), 1002),
        ("RSV1", masked(&[0xC1, 0x80]), 1002),
        ("RSV2", masked(&[0xA1, 0x80]), 1002),
        ("RSV3", masked(&[0x91, 0x80]), 1002),
        ("opcode 3", masked(&[0x83, 0x80]), 1002),
        ("opcode 11", masked(&[0x8B, 0x80]), 1002),
        ("ping of 126", frame(true, 9, &[0; 126]), 1002),
        ("close of 126", frame(true, 8, &[0; 126]), 1002),
        ("pong of 60,000", frame(true, 10, &[0; 60_000]), 1002),
        ("fragmented ping", frame(false, 9, b""), 1002),
        ("16-bit length of 125", masked(&[0x81, 0xFE, 0, 125]), 1002),
        ("64-bit length of 65,535", masked(&[0x81, 0xFF, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF]), 1002),
        ("64-bit length with its top bit", masked(&[0x82, 0xFF, 0x80, 0, 0, 0, 0, 0, 0, 0]), 1002),
        ("continuation of nothing", frame(true, 0, b"x"), 1002),
        ("text inside a text", [frame(false, 1, b"a"), frame(true, 1, b"b")].concat(), 1002),
        ("bad UTF-8", frame(true, 1, &[0xC3, 0x28]), 1007),
        ("UTF-8 cut short", frame(true, 1, &[0xE2, 0x82]), 1007),
        ("bad UTF-8 in a close", frame(true, 8, &[0x03, 0xE8, 0xFF]), 1007),
        ("one byte over the limit", frame(true, 2, &vec![0; (1 << 20) + 1]), 1009),
    ];
    for (name, bytes, code) in cases {
        let last = read_all(&bytes).pop();
        assert_eq!(last, Some(Seen::Refused(code)), "{name}");
        // However it comes.
        let split = read(&mut Decoder::default(), &Limits::default(), bytes.chunks(1)).pop();
        assert_eq!(split, Some(Seen::Refused(code)), "{name}, byte by byte");
    }
}

#[test]
fn close_codes() {
    for code in (0..=5000).chain([0xFFFF]) {
        let seen = read_all(&frame(true, 8, &u16::to_be_bytes(code)));
        let allowed = matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999);
        let expected = if allowed { Seen::Close(Some((code, String::new()))) } else { Seen::Refused(1002) };
        assert_eq!(seen, [expected], "{code}");
    }
    assert_eq!(read_all(&frame(true, 8, b"")), [Seen::Close(None)]);
    assert_eq!(read_all(&frame(true, 8, b"x")), [Seen::Refused(1002)]);
}

#[test]
fn fragments_are_limited_in_total_and_in_number() {
    let limits = Limits { message: 1_000, fragments: 4 };
    let read = |frames: &[Vec<u8>]| read(&mut Decoder::default(), &limits, [&frames.concat()[..]]).pop().unwrap();
    let part = |opcode, fin, len| frame(fin, opcode, &vec![b'x'; len]);
    assert_eq!(read(&[part(2, false, 500), part(0, true, 500)]), Seen::Binary(vec![b'x'; 1_000]));
    assert_eq!(read(&[part(2, false, 500), part(0, true, 501)]), Seen::Refused(1009));
    let three = [part(2, false, 0), part(0, false, 0), part(0, false, 0)];
    assert_eq!(read(&[&three[..], &[part(0, true, 0)]].concat()), Seen::Binary(Vec::new()));
    assert_eq!(read(&[&three[..], &[part(0, false, 0), part(0, true, 0)]].concat()), Seen::Refused(1009));
}

#[test]
fn what_is_announced_takes_no_memory() {
    let mut decoder = Decoder::default();
    let whole = frame(true, 2, &vec![7; 1 << 20]);
    assert_eq!(read(&mut decoder, &Limits::default(), [&whole[..20]]), []);
    assert!(decoder.inside_frame() && decoder.held() < 1_024, "{} bytes held", decoder.held());
    let seen = read(&mut decoder, &Limits::default(), whole[20..].chunks(1_000));
    assert_eq!(seen, [Seen::Binary(vec![7; 1 << 20])]);
    assert!(!decoder.inside_frame() && decoder.held() == 0);
}

#[test]
fn bad_text_is_refused_before_its_frame_is_whole() {
    let bytes = frame(true, 1, &[b"fine ".as_slice(), &[0xFF], &[b' '; 1_000]].concat());
    let mut decoder = Decoder::default();
    assert_eq!(read(&mut decoder, &Limits::default(), [&bytes[..8], &bytes[8..14]]), [Seen::Refused(1007)]);
}

fn traffic() -> impl Strategy<Value = Vec<(u8, Vec<u8>, Vec<usize>)>> {
    let message = (0u8..4, prop::collection::vec(any::<char>(), 0..200), prop::collection::vec(0usize..400, 0..4));
    let message = message.prop_map(|(kind, chars, cuts)| (kind, String::from_iter(chars).into_bytes(), cuts));
    prop::collection::vec(message, 1..8)
}

/// The frames of some messages, cut into fragments with pings between them, and what is to be seen.
fn encode(traffic: &[(u8, Vec<u8>, Vec<usize>)]) -> (Vec<u8>, Vec<Seen>) {
    let (mut bytes, mut seen) = (Vec::new(), Vec::new());
    for (kind, payload, cuts) in traffic {
        if *kind == 3 {
            let ping = &payload[..payload.len().min(125)];
            bytes.extend(frame(true, 9, ping));
            seen.push(Seen::Ping(ping.to_vec()));
            continue;
        }
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (payload.len() + 1)).collect();
        cuts.extend([0, payload.len()]);
        cuts.sort_unstable();
        let last = cuts.len() - 2;
        for (n, ends) in cuts.windows(2).enumerate() {
            let opcode = if n > 0 { 0 } else { 1 + kind % 2 };
            bytes.extend(frame(n == last, opcode, &payload[ends[0]..ends[1]]));
            if n < last {
                bytes.extend(frame(true, 10, b"between"));
                seen.extend([Seen::Fragment, Seen::Pong]);
            }
        }
        seen.push(match kind % 2 {
            0 => Seen::Text(String::from_utf8(payload.clone()).unwrap()),
            _ => Seen::Binary(payload.clone()),
        });
    }
    (bytes, seen)
}

proptest! {
    #[test]
    fn round_trip_in_any_pieces(traffic in traffic(), sizes in prop::collection::vec(1usize..300, 1..50)) {
        let (bytes, expected) = encode(&traffic);
        let mut rest = &bytes[..];
        let pieces = sizes.iter().cycle().map_while(|size| {
            let (piece, left) = rest.split_at((*size).min(rest.len()));
            rest = left;
            (!piece.is_empty()).then_some(piece)
        });
        let mut decoder = Decoder::default();
        prop_assert_eq!(read(&mut decoder, &Limits::default(), pieces), expected);
        prop_assert_eq!(decoder.held(), 0);
    }

    /// Any bytes, in any two pieces, mean the same as in one, and nothing panics.
    #[test]
    fn splits_do_not_matter(bytes in prop::collection::vec(any::<u8>(), 0..200), at in 0usize..200) {
        let (front, back) = bytes.split_at(at.min(bytes.len()));
        prop_assert_eq!(read(&mut Decoder::default(), &Limits::default(), [front, back]), read_all(&bytes));
    }
}
