//! A client on a native socket. What has come and was not asked for yet is kept in order, so that a story can wait for
//! one thing and look at the others later.

use super::{Answer, PATIENCE, Person};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use std::{collections::VecDeque, net::SocketAddr};
use tokio::{
    net::{TcpSocket, TcpStream},
    time::{Instant, timeout, timeout_at},
};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{self, Message, client::IntoClientRequest, http::HeaderValue},
};

/// A request that was refused, as the client is told.
#[derive(Clone, PartialEq, Debug)]
pub struct Refused {
    pub code: String,
    pub detail: Value,
}

pub struct Socket {
    stream: WebSocketStream<TcpStream>,
    next: u64,
    waiting: VecDeque<Value>,
    /// How it ended, once it has.
    closed: Option<u16>,
}

/// How a socket is opened.
#[derive(Clone, Default)]
pub struct Handshake {
    pub headers: Vec<(&'static str, String)>,
    /// With its `?`.
    pub query: String,
    /// Bytes the kernel keeps for a client that does not read.
    pub receive_buffer: Option<u32>,
}

impl Socket {
    /// Opened, with nothing said yet; or the answer that was no 101.
    pub async fn open(address: SocketAddr, handshake: Handshake) -> Result<Self, Answer> {
        let mut request =
            format!("ws://{address}/v1/ws{}", handshake.query).into_client_request().expect("a valid URL");
        for (name, value) in &handshake.headers {
            request.headers_mut().insert(*name, HeaderValue::from_str(value).expect("a header"));
        }
        let socket = TcpSocket::new_v4().expect("a socket");
        if let Some(bytes) = handshake.receive_buffer {
            socket.set_recv_buffer_size(bytes).expect("a buffer");
        }
        let connected = async { client_async(request, socket.connect(address).await.expect("a connection")).await };
        match timeout(PATIENCE, connected).await.expect("a handshake in time") {
            Ok((stream, _)) => Ok(Self { stream, next: 0, waiting: VecDeque::new(), closed: None }),
            Err(tungstenite::Error::Http(response)) => {
                let body = response.body().clone().unwrap_or_default();
                let text = String::from_utf8_lossy(&body).into_owned();
                Err(Answer { status: response.status().as_u16(), headers: vec![], text })
            }
            Err(other) => panic!("no handshake: {other}"),
        }
    }

    /// Says who it is; what hello was answered.
    pub async fn hello(&mut self, person: &Person) -> Value {
        self.ok("hello", json!({ "token": person.token })).await
    }

    pub async fn send(&mut self, message: Message) {
        timeout(PATIENCE, self.stream.send(message)).await.expect("room to send").expect("a socket that lives");
    }

    pub async fn text(&mut self, text: impl Into<String>) {
        self.send(Message::text(text.into())).await;
    }

    /// Asks, and does not wait: the number under which the answer will come.
    pub async fn begin(&mut self, cmd: &str, data: Value) -> u64 {
        self.next += 1;
        self.text(json!({ "id": self.next, "cmd": cmd, "data": data }).to_string()).await;
        self.next
    }

    /// Asks several things in one write, so that all are there before the first is answered.
    pub async fn begin_together(&mut self, asked: Vec<(&str, Value)>) -> Vec<u64> {
        let first = self.next + 1;
        for (cmd, data) in asked {
            self.next += 1;
            let text = json!({ "id": self.next, "cmd": cmd, "data": data }).to_string();
            self.stream.feed(Message::text(text)).await.expect("a socket that lives");
        }
        timeout(PATIENCE, self.stream.flush()).await.expect("room to send").expect("a socket that lives");
        (first..=self.next).collect()
    }

    pub async fn answer(&mut self, re: u64) -> Result<Value, Refused> {
        let mut frame = self.take(&format!("the answer to {re}"), |frame| frame["re"] == re).await;
        match frame["error"].take() {
            Value::Null => Ok(frame["ok"].take()),
            error => Err(Refused { code: error["code"].as_str().expect("a code").to_owned(), detail: error }),
        }
    }

    pub async fn ask(&mut self, cmd: &str, data: Value) -> Result<Value, Refused> {
        let re = self.begin(cmd, data).await;
        self.answer(re).await
    }

    pub async fn ok(&mut self, cmd: &str, data: Value) -> Value {
        self.ask(cmd, data.clone()).await.unwrap_or_else(|refused| panic!("{cmd} {data}: {refused:?}"))
    }

    /// The code of a refusal.
    pub async fn refused(&mut self, cmd: &str, data: Value) -> String {
        match self.ask(cmd, data.clone()).await {
            Err(refused) => refused.code,
            Ok(answer) => panic!("{cmd} {data} should be refused: {answer}"),
        }
    }

    /// Says something in a conversation: the message as it was stored.
    pub async fn say(&mut self, conversation: &str, body: &str) -> Value {
        let mut answer = self.ok("message.send", json!({ "conversation_id": conversation, "body": body })).await;
        answer["message"].take()
    }

    /// The next event of this name; what comes before it stays.
    pub async fn expect(&mut self, event: &str) -> Value {
        self.take(event, |frame| frame["event"] == event).await
    }

    /// The next event of this name in this conversation.
    pub async fn expect_in(&mut self, conversation: &str, event: &str) -> Value {
        self.take(event, |frame| frame["event"] == event && frame["conversation_id"] == conversation).await
    }

    /// The first frame that `wanted` picks; all others stay, in order.
    pub async fn take(&mut self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + PATIENCE;
        let mut looked = 0;
        loop {
            if let Some(at) = (looked..self.waiting.len()).find(|at| wanted(&self.waiting[*at])) {
                return self.waiting.remove(at).expect("it was just seen");
            }
            looked = self.waiting.len();
            let more = timeout_at(deadline, self.receive()).await;
            let more = more.unwrap_or_else(|_| panic!("{what} did not come in time; there was {:?}", self.waiting));
            assert!(more, "closed ({:?}) while waiting for {what}; there was {:?}", self.closed, self.waiting);
        }
    }

    /// The next frame, whatever it is.
    pub async fn next(&mut self) -> Value {
        self.take("a frame", |_| true).await
    }

    /// What has come and was not taken; without waiting for more.
    pub fn waiting(&self) -> impl Iterator<Item = &Value> {
        self.waiting.iter()
    }

    /// The names of the events among them.
    pub fn names(&self) -> Vec<&str> {
        self.waiting().filter_map(|frame| frame["event"].as_str()).collect()
    }

    pub fn forget(&mut self) -> Vec<Value> {
        self.waiting.drain(..).collect()
    }

    /// Waits until the server has said goodbye; with which code.
    pub async fn closed(&mut self) -> u16 {
        let end = timeout(PATIENCE, async { while self.receive().await {} }).await;
        end.unwrap_or_else(|_| panic!("not closed in time; there was {:?}", self.waiting));
        self.closed.expect("a Close frame before the end")
    }

    /// Reads one more frame into `waiting`; false at the end.
    async fn receive(&mut self) -> bool {
        loop {
            match self.stream.next().await {
                Some(Ok(Message::Text(text))) => {
                    self.waiting.push_back(serde_json::from_str(&text).expect("JSON"));
                    return true;
                }
                Some(Ok(Message::Close(frame))) => self.closed = frame.map(|frame| frame.code.into()),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return false,
            }
        }
    }
}
