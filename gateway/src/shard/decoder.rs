//! A peer's bytes, in any pieces, become messages and control frames (RFC 6455 §5 and §8.1). Pure: no I/O, no clock.
//!
//! A frame that lies whole in the caller's buffer is unmasked and handed on in place. Only what is unfinished when the
//! buffer ends moves into memory of the connection's own: at most one message, unmasked and UTF-8 checked as it comes,
//! so that bad text is refused at its first bad byte. That memory goes when the message has been taken.

use super::codec::{self, Close, Header, Limits, Message, Opcode, violation};

/// What one call of `Decoder::next` found.
#[derive(Debug)]
pub struct Step<'a> {
    /// Bytes of the input that are done with.
    pub used: usize,
    /// `None`: all the input was used, and more is needed.
    pub item: Option<Item<'a>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Item<'a> {
    Message(Message<'a>),
    /// A frame of a message that is still to be finished. Nothing to hand on.
    Fragment,
    Ping(&'a [u8]),
    Pong,
    /// The last item: what follows is not for us.
    Close(Option<(u16, &'a str)>),
}

/// Eight bytes for an idle connection.
#[derive(Default, Debug)]
pub struct Decoder {
    partial: Option<Box<Partial>>,
}

#[derive(Default, Debug)]
struct Partial {
    /// The beginning of a header.
    head: [u8; codec::HEADER_MAX],
    head_len: usize,
    /// The frame whose payload is coming in.
    frame: Option<Frame>,
    control: Vec<u8>,
    message: Option<Unfinished>,
    /// What the last step handed on may go.
    taken: bool,
}

#[derive(Clone, Copy, Debug)]
struct Frame {
    header: Header,
    got: usize,
}

#[derive(Debug)]
struct Unfinished {
    text: bool,
    bytes: Vec<u8>,
    /// So far valid UTF-8.
    checked: usize,
    fragments: u32,
    whole: bool,
}

impl Decoder {
    /// Reads on at the front of `input`, which it may change. Call again with what is left until there is no item.
    pub fn next<'a>(&'a mut self, input: &'a mut [u8], limits: &Limits) -> Result<Step<'a>, Close> {
        self.release();
        if input.is_empty() {
            return Ok(Step { used: 0, item: None });
        }
        if self.partial.is_none()
            && let Some((header, size)) = codec::header(input)?
        {
            admit(&header, None, limits)?;
            if header.fin && header.len <= (input.len() - size) as u64 {
                return in_place(header, size, input);
            }
        }
        self.partial.get_or_insert_default().next(input, limits)
    }

    /// Gives back what the last item was borrowed from. `next` does it too; call it when no next call is in sight.
    pub fn release(&mut self) {
        let Some(partial) = &mut self.partial else { return };
        if std::mem::take(&mut partial.taken) {
            partial.control.clear();
            partial.message.take_if(|message| message.whole);
        }
        if partial.frame.is_none() && partial.head_len == 0 && partial.message.is_none() {
            self.partial = None;
        }
    }

    /// A frame has begun and is not whole.
    pub fn inside_frame(&self) -> bool {
        self.partial.as_ref().is_some_and(|partial| partial.frame.is_some() || partial.head_len > 0)
    }

    /// A message of several frames has begun and is not whole.
    pub fn inside_message(&self) -> bool {
        self.partial.as_ref().is_some_and(|partial| partial.message.as_ref().is_some_and(|message| !message.whole))
    }

    /// Bytes of memory held beyond the decoder itself.
    pub fn held(&self) -> usize {
        let Some(partial) = &self.partial else { return 0 };
        let message = partial.message.as_ref().map_or(0, |message| message.bytes.capacity());
        size_of::<Partial>() + partial.control.capacity() + message
    }
}

/// May this frame come now, and is there room for it?
fn admit(header: &Header, message: Option<&Unfinished>, limits: &Limits) -> Result<(), Close> {
    if header.opcode.is_control() {
        return Ok(());
    }
    match (header.opcode, message) {
        (Opcode::Continuation, None) => return Err(violation("continuation of nothing")),
        (Opcode::Text | Opcode::Binary, Some(_)) => return Err(violation("message inside a message")),
        _ => {}
    }
    let (bytes, fragments) = message.map_or((0, 0), |message| (message.bytes.len(), message.fragments));
    if header.len > (limits.message - bytes) as u64 {
        return Err(codec::TOO_BIG);
    }
    if fragments >= limits.fragments {
        return Err(codec::TOO_MANY_FRAGMENTS);
    }
    Ok(())
}

/// The whole frame is in the input, and no message is unfinished.
fn in_place(header: Header, size: usize, input: &mut [u8]) -> Result<Step<'_>, Close> {
    let used = size + header.len as usize;
    let payload = &mut input[size..used];
    codec::unmask(payload, header.mask, 0);
    let item = match header.opcode {
        Opcode::Text => Item::Message(Message::Text(utf8(payload)?)),
        Opcode::Binary => Item::Message(Message::Binary(payload)),
        control => control_item(control, payload)?,
    };
    Ok(Step { used, item: Some(item) })
}

fn control_item(opcode: Opcode, payload: &[u8]) -> Result<Item<'_>, Close> {
    Ok(match opcode {
        Opcode::Ping => Item::Ping(payload),
        Opcode::Close => Item::Close(codec::close_payload(payload)?),
        _ => Item::Pong,
    })
}

fn utf8(bytes: &[u8]) -> Result<&str, Close> {
    simdutf8::basic::from_utf8(bytes).map_err(|_| codec::NOT_UTF8)
}

impl Partial {
    fn next<'a>(&'a mut self, input: &mut [u8], limits: &Limits) -> Result<Step<'a>, Close> {
        let mut used = 0;
        if self.frame.is_none() {
            used = self.read_header(input, limits)?;
        }
        let Some(frame) = &mut self.frame else { return Ok(Step { used, item: None }) };
        let left = frame.header.len - frame.got as u64;
        let chunk = (input.len() - used).min(usize::try_from(left).unwrap_or(usize::MAX));
        let payload = &mut input[used..used + chunk];
        codec::unmask(payload, frame.header.mask, frame.got);
        frame.got += chunk;
        used += chunk;
        let (header, complete) = (frame.header, chunk as u64 == left);
        if complete {
            self.frame = None;
        }
        let item = match &mut self.message {
            Some(message) if !header.opcode.is_control() => {
                message.extend(payload, left as usize)?;
                complete.then(|| message.frame_done(header.fin)).transpose()?
            }
            _ => {
                self.control.extend_from_slice(payload);
                complete.then(|| control_item(header.opcode, &self.control)).transpose()?
            }
        };
        self.taken = item.is_some();
        Ok(Step { used, item })
    }

    /// Completes the header from the input, if that has enough of it. How much it took.
    fn read_header(&mut self, input: &[u8], limits: &Limits) -> Result<usize, Close> {
        let before = self.head_len;
        let take = input.len().min(codec::HEADER_MAX - before);
        self.head[before..before + take].copy_from_slice(&input[..take]);
        let Some((header, size)) = codec::header(&self.head[..before + take])? else {
            self.head_len += take;
            return Ok(take);
        };
        admit(&header, self.message.as_ref(), limits)?;
        if let Opcode::Text | Opcode::Binary = header.opcode {
            let text = header.opcode == Opcode::Text;
            self.message = Some(Unfinished { text, bytes: Vec::new(), checked: 0, fragments: 0, whole: false });
        }
        self.head_len = 0;
        self.frame = Some(Frame { header, got: 0 });
        Ok(size - before)
    }
}

impl Unfinished {
    /// Takes in a piece of a frame of which `left` bytes, these included, are still to come. Memory grows with what has
    /// come, by doubling, never with what was announced.
    fn extend(&mut self, payload: &[u8], left: usize) -> Result<(), Close> {
        let need = self.bytes.len() + payload.len();
        if need > self.bytes.capacity() {
            let target = need.max((2 * need).min(self.bytes.len() + left));
            self.bytes.reserve_exact(target - self.bytes.len());
        }
        self.bytes.extend_from_slice(payload);
        if self.text {
            self.checked += match simdutf8::compat::from_utf8(&self.bytes[self.checked..]) {
                Ok(rest) => rest.len(),
                // A character cut in two by the end of what has come.
                Err(error) if error.error_len().is_none() => error.valid_up_to(),
                Err(_) => return Err(codec::NOT_UTF8),
            };
        }
        Ok(())
    }

    fn frame_done(&mut self, fin: bool) -> Result<Item<'_>, Close> {
        self.fragments += 1;
        if !fin {
            return Ok(Item::Fragment);
        }
        self.whole = true;
        Ok(Item::Message(if self.text { Message::Text(utf8(&self.bytes)?) } else { Message::Binary(&self.bytes) }))
    }
}

#[cfg(test)]
// The path is said because the fuzz target includes this file by its own.
#[path = "decoder/tests.rs"]
mod tests;
