//! Refresh tokens: 256 random bits, opaque, kept as SHA-256. Each is used once and gives way to a successor, which is
//! *derived* from it (HMAC under a key of ours): a client whose answer was lost, or whose second tab asked too, gets the
//! same successor again within the grace, and still no plaintext is kept anywhere.

use super::{derived_key, random};
use aws_lc_rs::{digest, hmac};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use shared::config::AuthConfig;
use std::time::Duration;

const BYTES: usize = 32;
const CHARS: usize = 43;

pub struct RefreshTokens {
    key: hmac::Key,
    pub life: Duration,
}

/// A token as its holder has it, and as the database does.
#[derive(Clone, PartialEq, Eq)]
pub struct RefreshToken {
    bytes: [u8; BYTES],
}

impl RefreshToken {
    /// `None`: this was never one of ours.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() != CHARS {
            return None;
        }
        Some(Self { bytes: URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()? })
    }

    pub fn text(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.bytes)
    }

    pub fn hash(&self) -> [u8; 32] {
        digest::digest(&digest::SHA256, &self.bytes)
            .as_ref()
            .try_into()
            .expect("cannot fail because SHA-256 has 32 bytes")
    }
}

impl RefreshTokens {
    pub fn new(config: &AuthConfig) -> Self {
        Self { key: derived_key(config.secret.expose().as_bytes(), b"refresh"), life: config.refresh_life }
    }

    /// The first of a family.
    pub fn first(&self) -> RefreshToken {
        RefreshToken { bytes: random() }
    }

    pub fn successor(&self, of: &RefreshToken) -> RefreshToken {
        let mac = hmac::sign(&self.key, &of.bytes);
        RefreshToken { bytes: mac.as_ref().try_into().expect("cannot fail because HMAC-SHA256 has 32 bytes") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::keys::tests::config;

    #[test]
    fn a_token_has_one_successor_and_gives_nothing_away() {
        let tokens = RefreshTokens::new(&config(&[]));
        let first = tokens.first();
        let second = tokens.successor(&first);
        assert_eq!(second.text(), tokens.successor(&first).text());
        assert_ne!(second.text(), first.text());
        assert_ne!(tokens.successor(&second).text(), second.text());
        assert_ne!(tokens.first().text(), first.text());
        let others = RefreshTokens::new(&config(&[("JWT_SECRET", "another secret of at least thirty-two bytes")]));
        assert_ne!(others.successor(&first).text(), second.text());
    }

    #[test]
    fn text_is_read_back_and_anything_else_refused() {
        let token = RefreshTokens::new(&config(&[])).first();
        assert_eq!(RefreshToken::parse(&token.text()).map(|t| t.hash()), Some(token.hash()));
        for bad in ["", "x", &"A".repeat(44), &"ä".repeat(21), &format!("{}=", &token.text()[1..]), &"A".repeat(42)] {
            assert!(RefreshToken::parse(bad).is_none());
        }
    }
}
