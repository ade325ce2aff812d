//! What a text from the server says, found without parsing it: the generator shares the machine with the server, and
//! reading JSON ten times per message would be most of what is measured.
//!
//! It leans on two facts of the interface (API.md): a reply begins with `{"re":`, an event with `{"event":"`; and on
//! one of our own making: a message body begins with `lt `, the run's tag, room, number and planned time. A text's own
//! quotes are escaped, so a key name found with its quotes is a key.

use memchr::memmem;
use std::str;

/// A text from the server, as far as a run needs it.
#[derive(Debug, PartialEq, Eq)]
pub enum Seen<'a> {
    /// A command was answered `ok`; the seq of its message.
    Stored { re: u64, seq: u64 },
    /// A command was refused.
    Refused { re: u64, code: &'a str },
    /// A message was placed in a conversation.
    Created { conversation: &'a [u8], seq: u64, body: Option<Body> },
    /// Part of the stream was dropped; the event says of which conversations.
    Resync(&'a [u8]),
    /// Any other event.
    Event,
    /// Neither reply nor event.
    Unknown,
}

/// The beginning of a body of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Body {
    pub tag: u32,
    pub room: u32,
    pub number: u64,
    /// The planned time of sending, in nanoseconds since the run's origin.
    pub planned_ns: u64,
}

/// Finders made once per run.
pub struct Scanner {
    seq: memmem::Finder<'static>,
    body: memmem::Finder<'static>,
    conversation: memmem::Finder<'static>,
    code: memmem::Finder<'static>,
}

const REPLY: &[u8] = b"{\"re\":";
const EVENT: &[u8] = b"{\"event\":\"";
const CREATED: &[u8] = b"message.created\"";
const RESYNC: &[u8] = b"resync\"";
const OK: &[u8] = b",\"ok\"";
const UUID_TEXT: usize = 36;

impl Scanner {
    pub fn new() -> Self {
        Self {
            seq: memmem::Finder::new(b"\"seq\":"),
            body: memmem::Finder::new(b"\"body\":\"lt "),
            conversation: memmem::Finder::new(b"\"conversation_id\":\""),
            code: memmem::Finder::new(b"\"code\":\""),
        }
    }

    pub fn look<'a>(&self, text: &'a [u8]) -> Seen<'a> {
        if let Some(event) = text.strip_prefix(EVENT) {
            self.event(event)
        } else if let Some(reply) = text.strip_prefix(REPLY) {
            self.reply(reply).unwrap_or(Seen::Unknown)
        } else {
            Seen::Unknown
        }
    }

    fn event<'a>(&self, event: &'a [u8]) -> Seen<'a> {
        if let Some(created) = event.strip_prefix(CREATED) {
            return self.created(created).unwrap_or(Seen::Unknown);
        }
        match event.strip_prefix(RESYNC) {
            Some(rest) => Seen::Resync(rest),
            None => Seen::Event,
        }
    }

    fn created<'a>(&self, text: &'a [u8]) -> Option<Seen<'a>> {
        let conversation = after(&self.conversation, text)?.get(..UUID_TEXT)?;
        let (seq, _) = number(after(&self.seq, text)?)?;
        let body = after(&self.body, text).and_then(Body::read);
        Some(Seen::Created { conversation, seq, body })
    }

    fn reply<'a>(&self, text: &'a [u8]) -> Option<Seen<'a>> {
        let (re, rest) = number(text)?;
        if rest.starts_with(OK) {
            let (seq, _) = number(after(&self.seq, rest)?)?;
            return Some(Seen::Stored { re, seq });
        }
        let code = after(&self.code, rest)?;
        let end = memchr::memchr(b'"', code)?;
        Some(Seen::Refused { re, code: str::from_utf8(&code[..end]).ok()? })
    }
}

impl Body {
    /// The text of a body of `length` bytes (more, if its own words need more).
    pub fn write(&self, length: usize, out: &mut Vec<u8>) {
        let start = out.len();
        let Self { tag, room, number, planned_ns } = self;
        out.extend_from_slice(format!("lt {tag} {room} {number} {planned_ns} ").as_bytes());
        let end = out.len().max(start + length);
        out.resize(end, b'x');
    }

    /// Reads what follows `lt `.
    fn read(text: &[u8]) -> Option<Self> {
        let (tag, text) = number(text)?;
        let (room, text) = number(text.strip_prefix(b" ")?)?;
        let (number_, text) = number(text.strip_prefix(b" ")?)?;
        let (planned_ns, _) = number(text.strip_prefix(b" ")?)?;
        Some(Self { tag: tag.try_into().ok()?, room: room.try_into().ok()?, number: number_, planned_ns })
    }
}

fn after<'a>(finder: &memmem::Finder<'_>, text: &'a [u8]) -> Option<&'a [u8]> {
    finder.find(text).map(|at| &text[at + finder.needle().len()..])
}

/// The decimal number at the beginning of a text, and what follows it.
fn number(text: &[u8]) -> Option<(u64, &[u8])> {
    let digits = text.iter().take(20).take_while(|byte| byte.is_ascii_digit()).count();
    let value = text[..digits]
        .iter()
        .try_fold(0_u64, |value, byte| value.checked_mul(10)?.checked_add(u64::from(byte - b'0')))?;
    (digits > 0).then_some((value, &text[digits..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOM: &str = "0190a1b2-0000-7000-8000-000000000001";

    #[test]
    fn a_message_of_ours_is_recognised() {
        let body = Body { tag: 7, room: 3, number: 41, planned_ns: 1_234_567_890 };
        let mut text = Vec::new();
        body.write(64, &mut text);
        assert_eq!(text.len(), 64);
        let event = format!(
            r#"{{"event":"message.created","conversation_id":"{ROOM}","seq":9,"rev":2,"data":{{"message":{{"seq":9,"body":"{}"}}}}}}"#,
            String::from_utf8(text).unwrap()
        );
        let seen = Scanner::new().look(event.as_bytes());
        assert_eq!(seen, Seen::Created { conversation: ROOM.as_bytes(), seq: 9, body: Some(body) });
    }

    #[test]
    fn what_others_say_is_told_apart() {
        let scanner = Scanner::new();
        let system = format!(
            r#"{{"event":"message.created","conversation_id":"{ROOM}","seq":1,"data":{{"body":"\"seq\":5"}}}}"#
        );
        assert_eq!(
            scanner.look(system.as_bytes()),
            Seen::Created { conversation: ROOM.as_bytes(), seq: 1, body: None }
        );
        assert_eq!(scanner.look(br#"{"event":"typing","data":{}}"#), Seen::Event);
        assert!(matches!(scanner.look(br#"{"event":"resync","data":{"conversation_ids":null}}"#), Seen::Resync(_)));
        assert_eq!(scanner.look(b"{}"), Seen::Unknown);
    }

    #[test]
    fn replies_are_read() {
        let scanner = Scanner::new();
        let stored = br#"{"re":70,"ok":{"message":{"id":"x","seq":41}}}"#;
        assert_eq!(scanner.look(stored), Seen::Stored { re: 70, seq: 41 });
        let refused = br#"{"re":71,"error":{"code":"overloaded","detail":"later","retry_after":1}}"#;
        assert_eq!(scanner.look(refused), Seen::Refused { re: 71, code: "overloaded" });
    }
}
