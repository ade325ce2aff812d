//! Access tokens made here, for `idle` with more users than anyone wants to register.
//!
//! The server checks a token at hello without asking the database, so a token for a user who does not exist is enough
//! to hold a socket (not to send). One real token serves as the pattern: header and claims are taken from it, `sub` and
//! the ids of the session are replaced, and the same HS256 secret (`JWT_SECRET`) signs it. The pattern's own signature
//! is checked first, so a wrong secret is found before a single socket is opened.

use anyhow::{Context, Result, bail};
use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};
use uuid::Uuid;

/// Claims that differ per login.
const OF_A_SESSION: [&str; 4] = ["sub", "sid", "session_id", "jti"];

/// The secret in a file: what a line `JWT_SECRET=` says (as in `.env`, or the secrets of a data directory), or the whole
/// file where there is none.
pub fn secret_in(text: &str) -> &str {
    let line = text.lines().find_map(|line| line.trim().strip_prefix("JWT_SECRET="));
    line.unwrap_or(text).trim()
}

/// Makes tokens after the pattern of a real one.
pub struct Mint {
    header: String,
    claims: Map<String, Value>,
    key: hmac::Key,
}

impl Mint {
    pub fn new(pattern: &str, secret: &[u8]) -> Result<Self> {
        let (signed, signature) = pattern.rsplit_once('.').context("the pattern is not a token")?;
        let (header, claims) = signed.split_once('.').context("the pattern is not a token")?;
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let signature = URL_SAFE_NO_PAD.decode(signature).context("the pattern's signature")?;
        if hmac::verify(&key, signed.as_bytes(), &signature).is_err() {
            bail!("the server's tokens are not signed with this secret (is it JWT_SECRET, and HS256 the active key?)");
        }
        let claims = URL_SAFE_NO_PAD.decode(claims).context("the pattern's claims")?;
        let claims = serde_json::from_slice(&claims).context("the pattern's claims")?;
        Ok(Self { header: header.to_owned(), claims, key })
    }

    /// A token for a user of its own who never registered.
    pub fn token(&self) -> String {
        self.token_of(Uuid::now_v7(), Uuid::now_v7())
    }

    /// A token for this user and session.
    pub fn token_of(&self, user: Uuid, session: Uuid) -> String {
        let mut claims = self.claims.clone();
        for (name, id) in OF_A_SESSION.into_iter().zip([user, session, session, Uuid::now_v7()]) {
            if let Some(claim) = claims.get_mut(name) {
                *claim = id.to_string().into();
            }
        }
        let signed = format!("{}.{}", self.header, URL_SAFE_NO_PAD.encode(Value::Object(claims).to_string()));
        let signature = hmac::sign(&self.key, signed.as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 7519 §3.1, whose key is that of RFC 7515 appendix A.1.
    const EXAMPLE: &str = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.\
        eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.\
        dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    const KEY: &str = "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow";

    #[test]
    fn a_secret_is_a_line_or_the_file() {
        assert_eq!(secret_in("# made\nJWT_SECRET=abc=\nX=y\n"), "abc=");
        assert_eq!(secret_in("abc\n"), "abc");
    }

    #[test]
    fn a_wrong_secret_is_found() {
        let key = URL_SAFE_NO_PAD.decode(KEY).unwrap();
        assert!(Mint::new(EXAMPLE, &key).is_ok());
        assert!(Mint::new(EXAMPLE, b"another secret").is_err());
    }

    #[test]
    fn a_minted_token_is_another_users() {
        let key = URL_SAFE_NO_PAD.decode(KEY).unwrap();
        let mut mint = Mint::new(EXAMPLE, &key).unwrap();
        mint.claims.insert("sub".to_owned(), "somebody".into());
        let token = mint.token();
        let again = Mint::new(&token, &key).unwrap();
        assert_eq!(again.claims["iss"], "joe");
        assert_ne!(again.claims["sub"], "somebody");
        assert_ne!(mint.token(), token);
    }
}
