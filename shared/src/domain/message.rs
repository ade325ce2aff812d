//! Messages: their kinds, and the digest by which a resend is told from another message under the same id.

use super::MessageId;
use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MessageKind {
    Text,
    Media,
    /// An opaque payload, stored and delivered untouched.
    Encrypted,
    /// Said by the server; no client may send it.
    System,
}

impl MessageKind {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Media => "media",
            Self::Encrypted => "encrypted",
            Self::System => "system",
        }
    }
}

/// Digest of what a send says: kept with the message, so that the same id with another content is refused even after
/// an edit. SHA-256 over length-prefixed parts, cut to 16 bytes: enough against accident, and the sender can only
/// collide with himself.
pub fn content_digest(kind: MessageKind, body: &str, extra: Option<&str>, reply_to: Option<MessageId>) -> [u8; 16] {
    let mut hasher = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
    for part in [kind.as_str().as_bytes(), body.as_bytes(), extra.unwrap_or("").as_bytes()] {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    if let Some(id) = reply_to {
        hasher.update(id.0.as_bytes());
    }
    let digest = hasher.finish();
    let mut short = [0; 16];
    short.copy_from_slice(&digest.as_ref()[..16]);
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_do_not_run_into_each_other() {
        let digest = |body, extra| content_digest(MessageKind::Text, body, Some(extra), None);
        assert_ne!(digest("ab", "c"), digest("a", "bc"));
        assert_eq!(digest("ab", "c"), digest("ab", "c"));
    }

    #[test]
    fn a_reply_is_not_the_same_message_without_it() {
        let id = MessageId::new();
        let plain = content_digest(MessageKind::Text, "a", None, None);
        assert_ne!(plain, content_digest(MessageKind::Text, "a", None, Some(id)));
    }
}
