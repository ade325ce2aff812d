//! A listener with shards behind it whose sessions do what a test tells them, and a raw client.

use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use axum::{Router, routing};
use bytes::Bytes;
use gateway::shard::codec::text_frame;
use gateway::shard::{Class, Close, Closed, Config, ConnId, Cx, Message, Sessions, Shards};
use gateway::{server, upgrade};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

/// Longer than anything here takes; a test that waits so long has failed.
pub const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Told {
    Opened(ConnId),
    Message(ConnId),
    Lagging(ConnId),
    Beat(ConnId),
    Deadline(ConnId),
    Here(ConnId),
    Closed(ConnId, Closed),
}

#[derive(Clone)]
pub enum Note {
    Say(&'static str),
    Resume,
    Close(Close),
    Deadline(Duration),
    /// Answers with `Cx::events_sent` in decimal.
    Count,
    Panic,
    /// Reports `Told::Here`: what was handed over before has been taken in.
    Here,
}

/// Echoes; some words are orders.
pub struct Probe {
    told: Sender<Told>,
}

impl Probe {
    fn tell(&self, told: Told) {
        // A test that is over listens no more.
        let _ = self.told.send(told);
    }
}

impl Sessions for Probe {
    type Session = ();
    type Note = Note;

    fn opened(&mut self, cx: &mut Cx<'_>, (): &mut ()) {
        self.tell(Told::Opened(cx.id()));
    }

    fn message(&mut self, cx: &mut Cx<'_>, (): &mut (), message: Message<'_>) {
        self.tell(Told::Message(cx.id()));
        match message {
            Message::Text("pause") => cx.pause_reading(),
            Message::Text("panic") => panic!("as ordered"),
            Message::Text("bye") => cx.close(Close { code: 4400, reason: "as ordered" }),
            Message::Text(text) => cx.send(text_frame(text.as_bytes()), Class::Durable),
            Message::Binary(bytes) => cx.send(gateway::shard::codec::binary_frame(bytes), Class::Durable),
        }
    }

    fn note(&mut self, cx: &mut Cx<'_>, (): &mut (), note: Note) {
        match note {
            Note::Say(words) => cx.send(text_frame(words.as_bytes()), Class::Durable),
            Note::Resume => cx.resume_reading(),
            Note::Close(close) => cx.close(close),
            Note::Deadline(after) => cx.set_deadline(after),
            Note::Count => cx.send(text_frame(cx.events_sent().to_string().as_bytes()), Class::Durable),
            Note::Here => self.tell(Told::Here(cx.id())),
            Note::Panic => panic!("as ordered"),
        }
    }

    fn lagging(&mut self, cx: &mut Cx<'_>, (): &mut ()) {
        self.tell(Told::Lagging(cx.id()));
        cx.send_events(text_frame(b"resync"), 1, Class::Durable);
    }

    fn beat(&mut self, cx: &mut Cx<'_>, (): &mut ()) {
        self.tell(Told::Beat(cx.id()));
        cx.send(text_frame(b"beat"), Class::Durable);
    }

    fn deadline(&mut self, cx: &mut Cx<'_>, (): &mut ()) {
        self.tell(Told::Deadline(cx.id()));
    }

    fn closed(&mut self, id: ConnId, (): (), why: Closed) {
        self.tell(Told::Closed(id, why));
    }
}

pub struct Edge {
    pub address: SocketAddr,
    pub shards: Shards<Probe>,
    pub stop: CancellationToken,
    pub server: tokio::task::JoinHandle<()>,
    pub runtime: Runtime,
    told: Receiver<Told>,
}

impl Edge {
    pub fn start(config: Config) -> Self {
        Self::start_with(config, server::Config::default())
    }

    pub fn start_with(config: Config, server: server::Config) -> Self {
        let (sender, told) = channel();
        let shards = Shards::start(2, config, |_| Probe { told: sender.clone() }).unwrap();
        let runtime = Runtime::new().unwrap();
        let listener = runtime.block_on(async { server::listen(([127, 0, 0, 1], 0).into(), 128).unwrap() });
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let counted = shards.clone();
        let server = server::Config { sockets: std::sync::Arc::new(move || counted.counts().connections), ..server };
        let server = runtime.spawn(server::serve(listener, router(shards.clone()), server, stop.clone()));
        Edge { address, shards, stop, server, runtime, told }
    }

    /// Waits for the next report that `wanted` picks.
    pub fn until<T>(&self, wanted: impl Fn(Told) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let told = self.told.recv_timeout(left).expect("the session layer was not told in time");
            if let Some(found) = wanted(told) {
                return found;
            }
        }
    }

    /// A report, if there is one.
    pub fn poll(&self) -> Option<Told> {
        self.told.try_recv().ok()
    }

    pub fn opened(&self) -> ConnId {
        self.until(|told| if let Told::Opened(id) = told { Some(id) } else { None })
    }

    pub fn closed(&self) -> Closed {
        self.until(|told| if let Told::Closed(_, why) = told { Some(why) } else { None })
    }

    /// Waits until the shards count so.
    pub fn until_counts(&self, wanted: impl Fn(gateway::shard::Counts) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !wanted(self.shards.counts()) {
            assert!(Instant::now() < deadline, "{:?}", self.shards.counts());
            std::thread::yield_now();
        }
    }

    pub fn messages(&self, count: usize) {
        for _ in 0..count {
            self.until(|told| matches!(told, Told::Message(_)).then_some(()));
        }
    }

    /// A client whose handshake is over.
    pub fn connect(&self) -> (Client, ConnId) {
        let mut client = Client::connect(self.address);
        client.handshake(b"");
        (client, self.opened())
    }

    /// One whole text frame as an event for these.
    pub fn event(&self, text: &str, class: Class, to: &[ConnId]) {
        self.events(text_frame(text.as_bytes()), 1, class, to);
    }

    pub fn events(&self, bytes: Bytes, events: u32, class: Class, to: &[ConnId]) {
        self.shards.deliver(vec![gateway::shard::Delivery { bytes, events, class, to: to.into() }]);
    }
}

impl Drop for Edge {
    fn drop(&mut self) {
        self.stop.cancel();
        self.shards.stop(Close { code: 1001, reason: "over" });
    }
}

fn router(shards: Shards<Probe>) -> Router {
    let socket = move |request: Request| async move {
        let terms = upgrade::Terms { origin: &|origin| origin == "https://app.test", protocols: &["rookery.v1"] };
        let adopt = move |socket, early| shards.adopt(socket, early, ()).unwrap();
        upgrade::upgrade(request, &terms, adopt).unwrap_or_else(|refused| refused.into_response())
    };
    let slow = || async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        "done"
    };
    let who = |peer: axum::extract::ConnectInfo<SocketAddr>| async move { Response::new(peer.0.to_string()) };
    Router::new().route("/ws", routing::any(socket)).route("/slow", routing::get(slow)).route("/who", routing::get(who))
}

pub const HANDSHAKE: &str = "GET /ws HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// A bare socket that says what it is told to, byte for byte.
pub struct Client {
    pub socket: TcpStream,
    read: Vec<u8>,
}

/// What the server sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Frame {
    pub opcode: u8,
    pub payload: Vec<u8>,
}

impl Frame {
    pub fn text(&self) -> &str {
        assert_eq!(self.opcode, 1, "{self:?} is no text");
        std::str::from_utf8(&self.payload).unwrap()
    }
}

impl Client {
    pub fn connect(address: SocketAddr) -> Self {
        let socket = TcpStream::connect(address).unwrap();
        socket.set_nodelay(true).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.set_write_timeout(Some(PATIENCE)).unwrap();
        Client { socket, read: Vec::new() }
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.socket.write_all(bytes.as_ref()).unwrap();
    }

    /// The handshake with `early` in the same segment; panics unless the answer is 101.
    pub fn handshake(&mut self, early: &[u8]) {
        self.send([HANDSHAKE.as_bytes(), early].concat());
        let head = self.head();
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        let accept = "sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=\r\n";
        assert!(head.to_ascii_lowercase().contains(accept), "{head}");
    }

    /// The head of an HTTP answer.
    pub fn head(&mut self) -> String {
        loop {
            if let Some(end) = self.read.windows(4).position(|window| window == b"\r\n\r\n") {
                let rest = self.read.split_off(end + 4);
                return String::from_utf8(std::mem::replace(&mut self.read, rest)).unwrap();
            }
            assert!(self.more(), "closed before an answer: {:?}", String::from_utf8_lossy(&self.read));
        }
    }

    /// Reads on; false at the end.
    pub fn more(&mut self) -> bool {
        let mut buffer = [0; 16 << 10];
        match self.socket.read(&mut buffer) {
            Ok(0) => false,
            Ok(read) => {
                self.read.extend_from_slice(&buffer[..read]);
                true
            }
            Err(error) if error.kind() == ErrorKind::ConnectionReset => false,
            Err(error) => panic!("{error}"),
        }
    }

    /// The next frame; `None` at the end. Frames from a server must be whole, unmasked and without reserved bits.
    pub fn frame(&mut self) -> Option<Frame> {
        loop {
            if let Some((frame, used)) = parse(&self.read) {
                self.read.drain(..used);
                return Some(frame);
            }
            if !self.more() {
                assert!(self.read.is_empty(), "the end came inside a frame: {:?}", self.read);
                return None;
            }
        }
    }

    pub fn text(&mut self) -> String {
        self.frame().expect("a frame, not the end").text().to_owned()
    }

    /// The server says goodbye with this code, and hangs up. What it sent before is given back.
    pub fn closed(&mut self, code: u16) -> Vec<Frame> {
        let mut before = Vec::new();
        loop {
            let frame = self.frame().expect("a Close frame before the end");
            if frame.opcode == 8 {
                assert_eq!(u16::from_be_bytes([frame.payload[0], frame.payload[1]]), code);
                assert_eq!(self.frame(), None);
                return before;
            }
            before.push(frame);
        }
    }
}

fn parse(bytes: &[u8]) -> Option<(Frame, usize)> {
    let (first, second) = (*bytes.first()?, *bytes.get(1)?);
    assert_eq!((first & 0xF0, second & 0x80), (0x80, 0), "not what a server may send");
    let (len, head) = match second {
        126 => (usize::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().unwrap())), 4),
        127 => (u64::from_be_bytes(bytes.get(2..10)?.try_into().unwrap()) as usize, 10),
        len => (usize::from(len), 2),
    };
    let payload = bytes.get(head..head + len)?.to_vec();
    Some((Frame { opcode: first & 0x0F, payload }, head + len))
}

/// A client's frame, masked.
pub fn frame(fin: bool, opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [0x5A, 0x01, 0xFF, 0x80];
    let mut out = vec![u8::from(fin) << 7 | opcode];
    match payload.len() {
        len @ 0..=125 => out.push(0x80 | len as u8),
        len @ 126..=0xFFFF => {
            out.push(0x80 | 126);
            out.extend((len as u16).to_be_bytes());
        }
        len => {
            out.push(0x80 | 127);
            out.extend((len as u64).to_be_bytes());
        }
    }
    out.extend(mask);
    out.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    out
}

pub fn text(words: &str) -> Vec<u8> {
    frame(true, 1, words.as_bytes())
}
