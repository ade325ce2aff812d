//! A client for the program's own interface on the same machine (`status`, `seed`): one request, one connection, HTTP/1.0,
//! so that an answer is whatever comes until the end. Everything else that speaks HTTP is in `gateway`.

use anyhow::{Context, Result, bail};
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(10);
/// Of an answer; what is longer is not one of ours.
const ANSWER_BYTES: u64 = 8 << 20;

pub struct Answer {
    pub status: u16,
    pub body: String,
}

impl Answer {
    pub fn is_ok(&self) -> bool {
        (200..300).contains(&self.status)
    }

    pub fn json(&self) -> Result<serde_json::Value> {
        serde_json::from_str(&self.body).context("the answer is not JSON")
    }
}

/// `base` is `http://host:port`.
pub fn get(base: &str, path: &str) -> Result<Answer> {
    get_within(base, path, TIMEOUT)
}

/// With less patience: `limit` is for the way there and for each piece of the answer.
pub fn get_within(base: &str, path: &str, limit: Duration) -> Result<Answer> {
    send(base, "GET", path, None, None, limit)
}

pub fn request(
    base: &str,
    method: &str,
    path: &str,
    token: Option<&str>,
    body: Option<&serde_json::Value>,
) -> Result<Answer> {
    send(base, method, path, token, body, TIMEOUT)
}

fn send(
    base: &str,
    method: &str,
    path: &str,
    token: Option<&str>,
    body: Option<&serde_json::Value>,
    limit: Duration,
) -> Result<Answer> {
    let host = base.strip_prefix("http://").with_context(|| format!("{base} is not an http:// address"))?;
    let address = host.to_socket_addrs().with_context(|| format!("cannot find {host}"))?.next();
    let address = address.with_context(|| format!("{host} has no address"))?;
    let mut stream = TcpStream::connect_timeout(&address, limit).with_context(|| format!("cannot reach {base}"))?;
    stream.set_read_timeout(Some(limit))?;
    stream.set_write_timeout(Some(limit))?;
    let body = body.map(serde_json::Value::to_string).unwrap_or_default();
    let mut head = format!("{method} {path} HTTP/1.0\r\nHost: {host}\r\nContent-Length: {}\r\n", body.len());
    if !body.is_empty() {
        head.push_str("Content-Type: application/json\r\n");
    }
    if let Some(token) = token {
        head.push_str(&format!("Authorization: Bearer {token}\r\n"));
    }
    stream.write_all(format!("{head}\r\n{body}").as_bytes()).context("cannot send the request")?;
    let mut answer = String::new();
    match stream.take(ANSWER_BYTES).read_to_string(&mut answer) {
        // The kernel's word for a read that took too long is "Resource temporarily unavailable".
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
            bail!("{base} does not answer within {} s", limit.as_secs())
        }
        read => read.with_context(|| format!("no answer from {base}"))?,
    };
    parse(&answer)
}

fn parse(answer: &str) -> Result<Answer> {
    let Some((head, body)) = answer.split_once("\r\n\r\n") else { bail!("the answer has no end of headers") };
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).context("the answer has no status")?;
    Ok(Answer { status, body: body.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_silent_is_said_to_be() {
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let base = format!("http://{}", silent.local_addr().unwrap());
        let error = get_within(&base, "/", Duration::from_secs(1)).err().unwrap();
        assert_eq!(format!("{error:#}"), format!("{base} does not answer within 1 s"));
    }

    #[test]
    fn an_answer_is_taken_apart() {
        let answer = parse("HTTP/1.0 503 Service Unavailable\r\nx: y\r\n\r\n{\"a\":1}").unwrap();
        assert_eq!((answer.status, answer.is_ok()), (503, false));
        assert_eq!(answer.json().unwrap()["a"], 1);
        assert!(parse("nonsense").is_err());
    }
}
