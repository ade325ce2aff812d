//! A small HTTP/1.1 client: what setting up accounts and rooms needs, and no more.
//!
//! One kept-alive connection per client, one request at a time, JSON both ways, an optional source address (the server
//! limits requests per address). Answers must carry Content-Length, as all of the server's do; anything else is an
//! error. Bounds: 16 KiB of head, 4 MiB of body, 30 s a call.

use anyhow::{Context, Result, bail};
use serde_json::Value;
use shared::clock;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

const HEAD_LIMIT: usize = 16 * 1024;
const BODY_LIMIT: usize = 4 * 1024 * 1024;
const CALL_LIMIT: Duration = Duration::from_secs(30);
/// What a 429 or 503 without a Retry-After is taken to mean.
const DEFAULT_PAUSE: Duration = Duration::from_secs(1);

/// The server under load: where it listens and what it is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    pub address: SocketAddr,
    /// `host:port`, as Host and the socket's URL want it.
    pub authority: String,
}

impl Server {
    /// Reads `http://host[:port]`; https is refused, for the figures would be those of the cipher.
    pub fn parse(url: &str) -> Result<Self> {
        let rest = url.strip_prefix("http://").with_context(|| format!("{url}: only http:// addresses are driven"))?;
        let host = rest.trim_end_matches('/');
        if host.is_empty() || host.contains('/') {
            bail!("{url}: a scheme, a host and a port are wanted, nothing behind them");
        }
        let authority = if host.contains(':') { host.to_owned() } else { format!("{host}:80") };
        let mut found = authority.to_socket_addrs().with_context(|| format!("looking up {authority}"))?;
        let address = found.find(SocketAddr::is_ipv4).with_context(|| format!("{authority} has no IPv4 address"))?;
        Ok(Self { address, authority })
    }

    /// The source address of the n-th of `sources` callers: 127.0.0.2 and up against a loopback server (the whole of
    /// 127.0.0.0/8 is ours, and each address brings 28,000 ports), the system's choice otherwise.
    pub fn source(&self, n: usize, sources: u8) -> Option<Ipv4Addr> {
        let step = u8::try_from(n % usize::from(sources.max(1))).unwrap_or(0);
        self.address.ip().is_loopback().then(|| Ipv4Addr::new(127, 0, 0, 2 + step))
    }

    /// A connection from the given source, without Nagle's delay.
    pub async fn connect(&self, source: Option<Ipv4Addr>) -> std::io::Result<TcpStream> {
        let socket = TcpSocket::new_v4()?;
        if let Some(source) = source {
            socket.bind(SocketAddr::new(IpAddr::V4(source), 0))?;
        }
        let stream = socket.connect(self.address).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

/// A request of the set-up.
pub struct Request<'a> {
    pub method: &'a str,
    pub path: &'a str,
    pub token: Option<&'a str>,
    pub body: Option<Value>,
}

/// What came back. `body` is null where there was none.
pub struct Answer {
    pub status: u16,
    pub retry_after: Option<Duration>,
    pub body: Value,
}

impl Answer {
    /// The body if the status is one of those hoped for, otherwise an error that says what the server said.
    pub fn expect_status(self, wanted: &[u16], what: &str) -> Result<Value> {
        if wanted.contains(&self.status) {
            return Ok(self.body);
        }
        bail!("{what}: the server answered {} {}", self.status, self.body)
    }
}

/// One caller with one connection.
pub struct Client {
    server: Server,
    source: Option<Ipv4Addr>,
    stream: Option<TcpStream>,
}

impl Client {
    pub fn new(server: Server, source: Option<Ipv4Addr>) -> Self {
        Self { server, source, stream: None }
    }

    /// Calls from another address from now on.
    pub fn move_to(&mut self, source: Option<Ipv4Addr>) {
        if self.source != source {
            (self.source, self.stream) = (source, None);
        }
    }

    /// Calls until the server no longer asks to wait (429, 503), as long as the wait it asks for ends before `deadline`.
    pub async fn call_patiently(&mut self, request: &Request<'_>, deadline: Instant) -> Result<Answer> {
        loop {
            let answer = self.call(request).await?;
            if !matches!(answer.status, 429 | 503) {
                return Ok(answer);
            }
            let pause = answer.retry_after.unwrap_or(DEFAULT_PAUSE).max(Duration::from_millis(50));
            if clock::monotonic() + pause > deadline {
                bail!(
                    "{}: the server asks to wait {} s, past this set-up's limit: {}",
                    request.path,
                    pause.as_secs(),
                    answer.body
                );
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// One call. A kept connection that the server has closed meanwhile is opened again, once.
    pub async fn call(&mut self, request: &Request<'_>) -> Result<Answer> {
        let kept = self.stream.is_some();
        let answer = match self.attempt(request).await {
            Err(_) if kept => self.attempt(request).await,
            answer => answer,
        };
        answer.with_context(|| format!("{} {} at {}", request.method, request.path, self.server.authority))
    }

    async fn attempt(&mut self, request: &Request<'_>) -> Result<Answer> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => self.server.connect(self.source).await?,
        };
        let call = exchange(&mut stream, &self.server.authority, request);
        let (answer, keep) = tokio::time::timeout(CALL_LIMIT, call).await.context("no answer within 30 s")??;
        if keep {
            self.stream = Some(stream);
        }
        Ok(answer)
    }
}

async fn exchange(stream: &mut TcpStream, host: &str, request: &Request<'_>) -> Result<(Answer, bool)> {
    stream.write_all(&encode(host, request)).await?;
    let mut bytes = Vec::with_capacity(2048);
    let head_end = loop {
        if let Some(at) = memchr::memmem::find(&bytes, b"\r\n\r\n") {
            break at + 4;
        }
        if bytes.len() > HEAD_LIMIT {
            bail!("the answer's head is longer than {HEAD_LIMIT} bytes");
        }
        if stream.read_buf(&mut bytes).await? == 0 {
            bail!("the connection ended before the answer");
        }
    };
    let head = Head::parse(std::str::from_utf8(&bytes[..head_end]).context("the answer's head is not text")?)?;
    while bytes.len() < head_end + head.length {
        if stream.read_buf(&mut bytes).await? == 0 {
            bail!("the connection ended within the answer");
        }
    }
    let body = match &bytes[head_end..head_end + head.length] {
        [] => Value::Null,
        body => serde_json::from_slice(body).unwrap_or_else(|_| String::from_utf8_lossy(body).into_owned().into()),
    };
    Ok((Answer { status: head.status, retry_after: head.retry_after, body }, head.keep))
}

fn encode(host: &str, request: &Request<'_>) -> Vec<u8> {
    let body = request.body.as_ref().map(Value::to_string).unwrap_or_default();
    let mut text =
        format!("{} {} HTTP/1.1\r\nHost: {host}\r\nAccept: application/json\r\n", request.method, request.path);
    if let Some(token) = request.token {
        text.push_str(&format!("Authorization: Bearer {token}\r\n"));
    }
    if request.body.is_some() {
        text.push_str("Content-Type: application/json\r\n");
    }
    text.push_str(&format!("Content-Length: {}\r\n\r\n{body}", body.len()));
    text.into_bytes()
}

#[derive(Debug)]
struct Head {
    status: u16,
    length: usize,
    retry_after: Option<Duration>,
    keep: bool,
}

impl Head {
    fn parse(text: &str) -> Result<Self> {
        let mut lines = text.split("\r\n");
        let first = lines.next().unwrap_or_default();
        let status = first.split(' ').nth(1).and_then(|code| code.parse().ok());
        let status = status.with_context(|| format!("not an HTTP answer: {first}"))?;
        let mut head = Self { status, length: 0, retry_after: None, keep: true };
        let mut counted = matches!(status, 204 | 304);
        for (name, value) in lines.filter_map(|line| line.split_once(':')) {
            let value = value.trim();
            match name.to_ascii_lowercase().as_str() {
                "content-length" => {
                    head.length = value.parse().with_context(|| format!("Content-Length: {value}"))?;
                    counted = true;
                }
                "retry-after" => head.retry_after = value.parse().ok().map(Duration::from_secs),
                "connection" => head.keep = !value.eq_ignore_ascii_case("close"),
                _ => {}
            }
        }
        if !counted {
            bail!("an answer without Content-Length (status {status})");
        }
        if head.length > BODY_LIMIT {
            bail!("an answer of {} bytes; the limit is {BODY_LIMIT}", head.length);
        }
        Ok(head)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_taken_apart() {
        let server = Server::parse("http://127.0.0.1:3000/").unwrap();
        assert_eq!(server.authority, "127.0.0.1:3000");
        assert_eq!(server.source(9, 8), Some(Ipv4Addr::new(127, 0, 0, 3)));
        assert!(Server::parse("https://127.0.0.1").is_err());
        assert!(Server::parse("http://127.0.0.1/v1").is_err());
    }

    #[test]
    fn a_head_is_read() {
        let head =
            "HTTP/1.1 429 Too Many Requests\r\nretry-after: 3\r\nContent-Length: 12\r\nconnection: close\r\n\r\n";
        let head = Head::parse(head).unwrap();
        assert_eq!((head.status, head.length, head.keep), (429, 12, false));
        assert_eq!(head.retry_after, Some(Duration::from_secs(3)));
        assert!(Head::parse("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").is_err());
        assert!(Head::parse("SSH-2.0\r\n\r\n").is_err());
    }
}
