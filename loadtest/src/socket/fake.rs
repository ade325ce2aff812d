//! A server for these tests: as much of the interface as the generator uses, in memory, with faults to order.
//! It runs on a thread of its own; what it promises is what API.md says, not what the product does.

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use uuid::Uuid;

/// What goes wrong, once, at the event numbered 20 of the whole server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    None,
    Lose,
    Double,
    /// The event comes after its successor.
    Swap,
    /// `resync` in place of the event.
    Tell,
    /// The first registration is answered 429.
    Busy,
    /// hello is refused.
    NoHello,
    /// Everything is pinged, and gets a heartbeat, right after hello.
    Nag,
}

#[derive(Default)]
struct World {
    /// Conversation → members and last seq.
    rooms: HashMap<String, (Vec<String>, u64)>,
    /// User → what leads to his sockets.
    sockets: HashMap<String, Vec<UnboundedSender<Message>>>,
    events: u64,
    held_back: Option<(UnboundedSender<Message>, Message)>,
    registered: u64,
    /// Heartbeats and pongs that clients sent.
    pub answers: u64,
}

/// Where the server listens; it ends with the test process.
pub struct Fake {
    pub address: SocketAddr,
    world: Arc<Mutex<World>>,
}

impl Fake {
    pub fn start(fault: Fault) -> Self {
        let listener = StdListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let world = Arc::new(Mutex::new(World::default()));
        let shared = world.clone();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let listener = TcpListener::from_std(listener).unwrap();
                while let Ok((stream, _)) = listener.accept().await {
                    stream.set_nodelay(true).unwrap();
                    tokio::spawn(serve(stream, shared.clone(), fault));
                }
            });
        });
        Self { address, world }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn answers(&self) -> u64 {
        self.world.lock().unwrap().answers
    }

    pub fn registered(&self) -> u64 {
        self.world.lock().unwrap().registered
    }
}

async fn serve(stream: TcpStream, world: Arc<Mutex<World>>, fault: Fault) {
    let mut first = [0; 11];
    loop {
        match stream.peek(&mut first).await {
            Ok(0) | Err(_) => return,
            Ok(bytes) if bytes == first.len() => break,
            Ok(_) => tokio::task::yield_now().await,
        }
    }
    if &first == b"GET /v1/ws " {
        socket(stream, world, fault).await;
    } else {
        rest(stream, world, fault).await;
    }
}

/// HTTP/1.1, kept alive, with Content-Length both ways.
async fn rest(stream: TcpStream, world: Arc<Mutex<World>>, fault: Fault) {
    let mut stream = BufReader::new(stream);
    loop {
        let (mut head, mut line) = (String::new(), String::new());
        while line != "\r\n" {
            line.clear();
            if stream.read_line(&mut line).await.unwrap_or(0) == 0 {
                return;
            }
            head.push_str(&line);
        }
        let field = |name: &str| {
            let line = head.lines().find(|line| line.to_ascii_lowercase().starts_with(name))?;
            Some(line[name.len()..].trim().to_owned())
        };
        let length = field("content-length:").and_then(|n| n.parse().ok()).unwrap_or(0);
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await.unwrap();
        let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
        let caller = field("authorization: bearer").unwrap_or_default();
        let path = head.split(' ').nth(1).unwrap();
        let (status, answer) = call(&mut world.lock().unwrap(), path, &caller, &body, fault);
        let text = answer.to_string();
        let retry = if status == 429 { "Retry-After: 0\r\n" } else { "" };
        let answer = format!("HTTP/1.1 {status} x\r\n{retry}Content-Length: {}\r\n\r\n{text}", text.len());
        stream.write_all(answer.as_bytes()).await.unwrap();
    }
}

fn call(world: &mut World, path: &str, caller: &str, body: &Value, fault: Fault) -> (u16, Value) {
    match path {
        "/v1/auth/register" => {
            world.registered += 1;
            if fault == Fault::Busy && world.registered == 1 {
                return (429, json!({"code": "rate_limited"}));
            }
            let id = Uuid::now_v7().to_string();
            // The token is the user's id: nobody checks it here.
            (201, json!({"user": {"id": id}, "access_token": id, "expires_in": 3600, "refresh_token": "r"}))
        }
        "/v1/conversations" => {
            let mut members: Vec<String> = serde_json::from_value(body["member_ids"].clone()).unwrap();
            members.insert(0, caller.to_owned());
            assert!(members.len() <= 101);
            // Creating it took seq 1 and 2.
            world.rooms.insert(body["id"].as_str().unwrap().to_owned(), (members, 2));
            (201, body.clone())
        }
        _ => {
            let room = path.strip_prefix("/v1/conversations/").and_then(|rest| rest.strip_suffix("/members")).unwrap();
            let added: Vec<String> = serde_json::from_value(body["user_ids"].clone()).unwrap();
            assert!(added.len() <= 100);
            world.rooms.get_mut(room).unwrap().0.extend(added);
            (200, json!({}))
        }
    }
}

async fn socket(stream: TcpStream, world: Arc<Mutex<World>>, fault: Fault) {
    #[allow(clippy::result_large_err, reason = "the signature is tungstenite's")]
    let protocol = |request: &Request, mut response: Response| {
        let wanted = request.headers().get("Sec-WebSocket-Protocol").unwrap().clone();
        response.headers_mut().insert("Sec-WebSocket-Protocol", wanted);
        Ok(response)
    };
    let Ok(socket) = tokio_tungstenite::accept_hdr_async(stream, protocol).await else { return };
    let (mut out, mut incoming) = socket.split();
    let (sender, mut receiver) = unbounded_channel::<Message>();
    tokio::spawn(async move {
        while let Some(message) = receiver.recv().await {
            if out.send(message).await.is_err() {
                return;
            }
        }
    });
    let mut user = String::new();
    while let Some(Ok(message)) = incoming.next().await {
        match message {
            Message::Text(text) => {
                let command: Value = serde_json::from_str(&text).unwrap();
                command_of(&mut world.lock().unwrap(), &mut user, &command, &sender, fault);
            }
            Message::Pong(_) => world.lock().unwrap().answers += 1,
            _ => {}
        }
    }
}

fn command_of(world: &mut World, user: &mut String, command: &Value, sender: &UnboundedSender<Message>, fault: Fault) {
    let (id, data) = (&command["id"], &command["data"]);
    match command["cmd"].as_str().unwrap() {
        "hello" if fault == Fault::NoHello => {
            say(sender, &json!({"re": id, "error": {"code": "unauthenticated"}}));
        }
        "hello" => {
            *user = data["token"].as_str().unwrap().to_owned();
            world.sockets.entry(user.clone()).or_default().push(sender.clone());
            sender.send(Message::text(format!(r#"{{"re":{id},"ok":{{"live":true}}}}"#))).unwrap();
            if fault == Fault::Nag {
                sender.send(Message::Ping(b"well?".to_vec().into())).unwrap();
                sender.send(Message::text(r#"{"event":"heartbeat","data":{"sent":0}}"#)).unwrap();
            }
        }
        "heartbeat" => world.answers += 1,
        "message.send" => {
            let room = data["conversation_id"].as_str().unwrap();
            let (members, seq) = world.rooms.get_mut(room).unwrap();
            assert!(members.contains(user), "a stranger sends");
            *seq += 1;
            let (members, seq) = (members.clone(), *seq);
            let event = format!(
                r#"{{"event":"message.created","conversation_id":"{room}","seq":{seq},"rev":0,"data":{{"message":{{"id":{},"seq":{seq},"body":{}}}}}}}"#,
                data["id"], data["body"]
            );
            for member in &members {
                for n in 0..world.sockets.get(member).map_or(0, Vec::len) {
                    deliver(world, member, n, room, Message::text(event.clone()), fault);
                }
            }
            sender.send(Message::text(format!(r#"{{"re":{id},"ok":{{"message":{{"seq":{seq}}}}}}}"#))).unwrap();
        }
        other => panic!("unexpected command {other}"),
    }
}

fn deliver(world: &mut World, member: &str, socket: usize, room: &str, event: Message, fault: Fault) {
    world.events += 1;
    let number = world.events;
    let to = world.sockets[member][socket].clone();
    match (number, fault) {
        (20, Fault::Lose) => {}
        (20, Fault::Tell) => {
            let text = format!(r#"{{"event":"resync","data":{{"conversation_ids":["{room}"]}}}}"#);
            to.send(Message::text(text)).unwrap();
        }
        (20, Fault::Double) => {
            to.send(event.clone()).unwrap();
            to.send(event).unwrap();
        }
        (20, Fault::Swap) => world.held_back = Some((to, event)),
        _ => {
            to.send(event).unwrap();
            if let Some((_, late)) = world.held_back.take_if(|(other, _)| other.same_channel(&to)) {
                to.send(late).unwrap();
            }
        }
    }
}

fn say(sender: &UnboundedSender<Message>, value: &Value) {
    // serde_json sorts keys: an error begins with "error"; the interface says "re" goes first.
    let text = format!(r#"{{"re":{},"error":{}}}"#, value["re"], value["error"]);
    sender.send(Message::text(text)).unwrap();
}
