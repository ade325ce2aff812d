//! Who is asking: access tokens (a JWT, checked without a query), refresh tokens (opaque, in PostgreSQL as a hash), one-use
//! tickets for browsers' sockets, and passwords. What an endpoint does with them is in `rest/auth.rs`.

mod cookie;
mod keys;
mod passwords;
mod refresh;
mod tickets;
mod tokens;

pub use cookie::{RefreshCookie, is_localhost, refresh_cookie};
pub use keys::PublicKey;
pub use passwords::Passwords;
pub use refresh::{RefreshToken, RefreshTokens};
pub use tickets::Tickets;
pub use tokens::{Caller, Issued, Tokens};

use std::time::Duration;

/// How far clocks of issuer and verifier may be apart.
pub const LEEWAY: Duration = Duration::from_secs(5);
/// Longer than any token of ours; a longer one is refused unread.
pub const TOKEN_MAX: usize = 4096;

/// A key of our own for one purpose, from the secret: HKDF-SHA256 (RFC 5869).
pub(crate) fn derived_key(secret: &[u8], purpose: &[u8]) -> aws_lc_rs::hmac::Key {
    let salt = aws_lc_rs::hkdf::Salt::new(aws_lc_rs::hkdf::HKDF_SHA256, b"rookery");
    let mut key = [0; 32];
    salt.extract(secret)
        .expand(&[purpose], aws_lc_rs::hkdf::HKDF_SHA256)
        .and_then(|okm| okm.fill(&mut key))
        .expect("cannot fail because 32 bytes are one block of HKDF-SHA256");
    aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &key)
}

/// Bytes nobody can guess.
fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes)
        .expect("cannot fail because the system's generator is seeded when a process runs");
    bytes
}
