//! Replies: what came of a command. `Ok` means that its transaction has committed (ARCHITECTURE.md, "What is always true", 1).

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::{borrow::Cow, fmt};

#[derive(Clone, Debug)]
pub struct Reply {
    /// The envelope's number, as the gateway gave it.
    pub ticket: u64,
    pub outcome: Outcome,
}

impl Reply {
    /// Roughly what it occupies, for bounds counted in bytes.
    pub(crate) fn weight(&self) -> usize {
        match &self.outcome {
            Outcome::Ok { json, .. } => 96 + json.len(),
            Outcome::Refused(_) => 96,
        }
    }
}

#[derive(Clone, Debug)]
pub enum Outcome {
    /// `created` tells the first answer (201) from a repeated one (200); `json` is the answer's object, made once.
    Ok {
        created: bool,
        json: Bytes,
    },
    Refused(Refusal),
}

/// A command or request that is not done; the session that asked lives on. The counterpart that ends a session is the
/// gateway's `Close`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    pub code: Code,
    pub detail: Cow<'static, str>,
    /// Seconds after which trying again makes sense.
    pub retry_after: Option<u32>,
    /// The input that is wrong and why, where the refusal is about one.
    pub field: Option<(Cow<'static, str>, Cow<'static, str>)>,
}

impl Refusal {
    pub fn new(code: Code, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { code, detail: detail.into(), retry_after: None, field: None }
    }

    pub fn field(name: impl Into<Cow<'static, str>>, problem: impl Into<Cow<'static, str>>) -> Self {
        let (name, problem) = (name.into(), problem.into());
        Self {
            code: Code::Invalid,
            detail: format!("{name} {problem}").into(),
            retry_after: None,
            field: Some((name, problem)),
        }
    }

    pub fn not_found() -> Self {
        Self::new(Code::NotFound, "there is no such thing, or it is not yours to see")
    }

    pub fn forbidden(detail: &'static str) -> Self {
        Self::new(Code::Forbidden, detail)
    }

    pub fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after = Some(seconds);
        self
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code.as_str(), self.detail)
    }
}

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal / $status:literal,)*) => {
        /// Stable words for programs, the same over REST (with an HTTP status) and sockets.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum Code { $($(#[$doc])* $name,)* }

        impl Code {
            pub const ALL: &[Code] = &[$(Code::$name,)*];

            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            pub fn parse(text: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|code| code.as_str() == text)
            }

            /// The HTTP status under which REST says it.
            pub fn status(self) -> u16 {
                match self { $(Self::$name => $status,)* }
            }
        }
    };
}

codes! {
    /// The input is wrong; `fields` names what and why.
    Invalid = "invalid" / 400,
    /// Not JSON, or not an object of this request's shape.
    Malformed = "malformed" / 400,
    /// No token, or one that is not valid (any more).
    Unauthorized = "unauthorized" / 401,
    /// Name and password do not belong together.
    WrongCredentials = "wrong_credentials" / 401,
    /// Seen, but not allowed to your role.
    Forbidden = "forbidden" / 403,
    /// Not there, or not yours to see: a stranger hears the same for both.
    NotFound = "not_found" / 404,
    MethodNotAllowed = "method_not_allowed" / 405,
    /// Taken already: a username, an email.
    Conflict = "conflict" / 409,
    /// This id was used for another message or command.
    IdConflict = "id_conflict" / 409,
    /// The conversation is closed.
    Closed = "closed" / 410,
    TooLarge = "too_large" / 413,
    /// This address speaks WebSocket (version 13, over HTTP/1.1) only.
    UpgradeRequired = "upgrade_required" / 426,
    UnsupportedMedia = "unsupported_media" / 415,
    /// Too often; `retry_after` says when.
    RateLimited = "rate_limited" / 429,
    /// A command this server does not know (yet).
    Unsupported = "unsupported" / 501,
    /// The server has as much as it can hold; nothing was done.
    Overloaded = "overloaded" / 503,
    /// A part the command needs is away, and the command was not passed on: nothing was done.
    Unavailable = "unavailable" / 503,
    /// No answer within the deadline: done or not is unknown, and the same id is safe to send again.
    Timeout = "timeout" / 504,
    /// A fault of ours; the log has it under the request's id.
    Internal = "internal" / 500,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_written_as_it_is_named() {
        for code in Code::ALL {
            let json = serde_json::to_string(code).expect("an enum serializes");
            assert_eq!(json, format!("\"{}\"", code.as_str()));
        }
    }
}
