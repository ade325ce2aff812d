//! Access tokens: a JWT that says who (`sub`), in which session (`sid`) and until when. Checked on every request and every
//! hello, on socket threads too: no query, no lock but one for reading.

use super::{LEEWAY, TOKEN_MAX, keys};
use super::{keys::KeyRing, keys::PublicKey};
use crate::ended::Ended;
use jsonwebtoken::Header;
use serde::{Deserialize, Serialize};
use shared::{
    clock,
    config::{AuthConfig, ConfigError},
    domain::{SessionId, UserId},
    reply::{Code, Refusal},
};
use std::{sync::Arc, time::Duration};
use uuid::Uuid;

/// Tells an access token from anything else that one of our keys may ever sign.
const TYPE: &str = "access";

/// Who a valid token speaks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Caller {
    pub user: UserId,
    pub session: SessionId,
    /// Unix seconds. A socket does not end with it: it lives as long as its session.
    pub expires: u64,
}

/// A fresh access token and how long it lives.
pub struct Issued {
    pub token: String,
    pub expires_in: Duration,
}

/// Every one of these is required and has exactly this type: an `exp` that is text or a fraction is no `exp`.
#[derive(Serialize, Deserialize)]
struct Claims {
    iss: String,
    aud: String,
    sub: UserId,
    sid: SessionId,
    iat: u64,
    exp: u64,
    jti: Uuid,
    typ: String,
}

pub struct Tokens {
    ring: KeyRing,
    ended: Arc<Ended>,
    life: Duration,
}

impl Tokens {
    pub fn new(config: &AuthConfig, ended: Arc<Ended>) -> Result<Self, ConfigError> {
        Ok(Self { ring: KeyRing::new(config)?, ended, life: config.access_life })
    }

    pub fn public_keys(&self) -> &[PublicKey] {
        self.ring.public()
    }

    pub fn issue(&self, user: UserId, session: SessionId) -> Issued {
        Issued { token: self.issue_at(user, session, clock::unix_seconds()), expires_in: self.life }
    }

    fn issue_at(&self, user: UserId, session: SessionId, now: u64) -> String {
        let claims = Claims {
            iss: keys::ISSUER.to_owned(),
            aud: keys::AUDIENCE.to_owned(),
            sub: user,
            sid: session,
            iat: now,
            exp: now + self.life.as_secs(),
            jti: Uuid::now_v7(),
            typ: TYPE.to_owned(),
        };
        let mut header = Header::new(self.ring.signing_algorithm);
        header.kid = Some(self.ring.signing_kid.clone());
        jsonwebtoken::encode(&header, &claims, &self.ring.signing)
            .expect("cannot fail because the signing key was parsed at start")
    }

    /// Refuses whatever is not a token of ours, in time, of a session that lives. All refusals look the same.
    pub fn verify(&self, token: &str) -> Result<Caller, Refusal> {
        let caller = self.judge(token, clock::unix_seconds()).ok_or_else(unauthorized)?;
        if self.ended.contains(caller.session) {
            return Err(Refusal::new(Code::Unauthorized, "the session has ended"));
        }
        Ok(caller)
    }

    fn judge(&self, token: &str, now: u64) -> Option<Caller> {
        if token.len() > TOKEN_MAX {
            return None;
        }
        let header = jsonwebtoken::decode_header(token).ok()?;
        // Keys come from the ring only; a header that brings its own, or demands extensions, is not ours.
        let foreign = [
            header.jku.is_some(),
            header.jwk.is_some(),
            header.x5u.is_some(),
            header.x5c.is_some(),
            header.crit.is_some(),
        ];
        if foreign.contains(&true) {
            return None;
        }
        let key = self.ring.verifying(header.kid.as_deref()?)?;
        if header.alg != key.algorithm {
            return None;
        }
        let claims = jsonwebtoken::decode::<Claims>(token, &key.key, &key.validation).ok()?.claims;
        let ours = claims.typ == TYPE && claims.iat <= now + LEEWAY.as_secs() && claims.iat <= claims.exp;
        ours.then_some(Caller { user: claims.sub, session: claims.sid, expires: claims.exp })
    }
}

fn unauthorized() -> Refusal {
    Refusal::new(Code::Unauthorized, "a valid access token is needed")
}

#[cfg(test)]
mod tests;
