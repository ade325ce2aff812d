//! Why a socket was refused or closed, and what to do about it. docs/socket.md has the same codes for programs.

use serde_json::Value;

/// What each close code that a server sends asks of a client.
pub const CLOSES: [(u16, &str); 13] = [
    (1001, "the server is going away; come back"),
    (1002, "a frame broke the WebSocket protocol"),
    (1003, "only text frames are spoken here"),
    (1007, "a text was not UTF-8"),
    (1009, "a message was longer than 1 MiB, or in more than 1,024 pieces"),
    (1011, "the server failed at something; come back"),
    (1012, "the server restarts; come back after the time that `reconnect` named"),
    (4000, "what was sent was not read fast enough; come back and sync"),
    (4001, "the server has too many unfinished messages; come back"),
    (4401, "the token is missing or not valid (any more), or hello was not the first frame; log in again"),
    (4403, "the session was ended by a logout, a new password or a misused refresh token; log in again"),
    (4408, "hello did not come within ten seconds"),
    (4429, "too many requests; wait before coming back"),
];

pub fn explain(code: u16, reason: &str) -> String {
    let reason = if reason.is_empty() { String::new() } else { format!(" ({reason})") };
    let words = CLOSES.iter().find(|(known, _)| *known == code).map_or_else(|| of_range(code), |(_, words)| words);
    format!("closed with {code}{reason}: {words}")
}

/// A code of a newer server: its range says whether to come back.
fn of_range(code: u16) -> &'static str {
    match code {
        1000 | 1005 => "it is over",
        4000..=4099 => "come back at once",
        4400..=4499 => "do not come back as you are",
        _ => "a code that is not known here",
    }
}

/// A handshake that was answered with something else than 101.
pub fn refusal(status: u16, body: &[u8]) -> String {
    let problem: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
    let detail = problem["detail"].as_str().unwrap_or("no WebSocket of Rookery answers at this address");
    format!("refused with {status}: {detail}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_close_is_explained() {
        assert_eq!(explain(4408, "no hello"), "closed with 4408 (no hello): hello did not come within ten seconds");
        assert!(explain(4042, "").ends_with("4042: come back at once"));
        assert!(explain(4499, "").contains("do not come back"));
        assert_eq!(explain(1005, ""), "closed with 1005: it is over");
    }

    #[test]
    fn a_refusal_says_what_the_server_said() {
        assert_eq!(
            refusal(401, br#"{"detail":"a valid access token is needed"}"#),
            "refused with 401: a valid access token is needed"
        );
        assert!(refusal(404, b"<html>").starts_with("refused with 404: no WebSocket"));
    }
}
