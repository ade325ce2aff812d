//! A client on a native socket, in step with its test: it asks, and waits for what it wants to see.

use crate::stage::DEADLINE;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::net::TcpStream;
use tokio_tungstenite::tungstenite::{Message, WebSocket, client};

pub struct Socket {
    stream: WebSocket<TcpStream>,
    next: u64,
    /// What came while something else was waited for.
    kept: VecDeque<Value>,
}

impl Socket {
    /// `address` is `http://host:port`. Says hello.
    pub fn open(address: &str, token: &str) -> Self {
        let host = address.strip_prefix("http://").unwrap();
        let stream = TcpStream::connect(host).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let (stream, _) = client(format!("ws://{host}/v1/ws"), stream).unwrap();
        let mut socket = Self { stream, next: 0, kept: VecDeque::new() };
        let hello = socket.ask("hello", json!({ "token": token }));
        assert_eq!(hello["live"], true, "{hello}");
        socket
    }

    /// What it is answered.
    pub fn ask(&mut self, cmd: &str, data: Value) -> Value {
        self.next += 1;
        let (id, frame) = (self.next, json!({ "id": self.next, "cmd": cmd, "data": data }));
        self.stream.send(Message::text(frame.to_string())).unwrap();
        let mut answer = self.take(|frame| frame["re"] == id);
        assert!(answer["error"].is_null(), "{answer}");
        answer["ok"].take()
    }

    /// The next event of this name.
    pub fn expect(&mut self, event: &str) -> Value {
        self.take(|frame| frame["event"] == event)
    }

    fn take(&mut self, wanted: impl Fn(&Value) -> bool) -> Value {
        if let Some(at) = self.kept.iter().position(&wanted) {
            return self.kept.remove(at).unwrap();
        }
        loop {
            let message = self.stream.read().unwrap_or_else(|error| panic!("{error}; there was {:?}", self.kept));
            let Message::Text(text) = message else { continue };
            let frame: Value = serde_json::from_str(&text).unwrap();
            if wanted(&frame) {
                return frame;
            }
            self.kept.push_back(frame);
        }
    }
}
