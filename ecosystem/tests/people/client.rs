//! One person's client: says things, sends again under the same id what got no answer, keeps what it is told, catches up
//! when it is told to or comes back, and writes everything down. The server may vanish at any moment.

mod reading;
mod saying;
mod watching;

use super::crowd::{Crowd, Phase};
use super::dice::Dice;
use super::holdings::{Holdings, Position};
use crate::history::{Message, Seen, Time, View};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::{Instant, interval, sleep, sleep_until, timeout};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async_with_config, tungstenite};
use uuid::Uuid;

const TICK: Duration = Duration::from_millis(20);
const CONNECTING: Duration = Duration::from_secs(5);
/// Nothing that was on its way takes longer than this where nothing is broken.
const QUIET: Duration = Duration::from_secs(5);

pub type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// What an answer will be to.
enum Asked {
    Send { attempt: usize, message: Message },
    Rename,
    Sync { positions: HashMap<Uuid, Position> },
    List { conversation: Uuid, until: Position },
    Watch,
}

pub struct Client {
    crowd: Arc<Crowd>,
    me: usize,
    dice: Dice,
    holdings: Holdings,
    /// Within which the positions are valid.
    epoch: Value,
    urev: i64,
    /// To be sent again, in the order first sent.
    again: VecDeque<Message>,
    /// What was said and is neither answered nor given up, and when it was said first.
    open: HashMap<Uuid, Time>,
    /// Connections so far; a reset begins another session on the same connection.
    session: u32,
    /// The one it is connected to.
    server: usize,
    /// The last call back to its own that it has followed.
    homewards: u32,
    /// Of the server it is connected to, and when that was heard last.
    heartbeat: Duration,
    heard: Instant,
    /// When something of a conversation was heard last, or the connection began.
    news: Instant,
    /// When the server that leaves wants it to come back.
    come_back: Option<Instant>,
    next: u64,
    asked: BTreeMap<u64, Asked>,
    frames: Vec<Value>,
    /// Has to ask for `sync`.
    stale: bool,
    /// When to ask who is here, if that is not known.
    watch_at: Option<Instant>,
    /// Has asked for `sync` at the end.
    reading: bool,
}

impl Client {
    pub fn new(crowd: Arc<Crowd>, me: usize) -> Self {
        Self {
            dice: Dice::new(crowd.seed.wrapping_mul(1000).wrapping_add(me as u64)),
            holdings: Holdings::of(crowd.of(me).map(|conversation| conversation.id)),
            server: crowd.home(me),
            crowd,
            me,
            epoch: Value::Null,
            urev: 0,
            again: VecDeque::new(),
            open: HashMap::new(),
            session: 0,
            homewards: 0,
            heartbeat: CONNECTING,
            heard: Instant::now(),
            news: Instant::now(),
            come_back: None,
            next: 0,
            asked: BTreeMap::new(),
            frames: vec![],
            stale: true,
            watch_at: None,
            reading: false,
        }
    }

    /// Until everything has been read at the end.
    pub async fn run(mut self) {
        loop {
            if let Some(socket) = self.connect().await
                && self.talk(socket).await
            {
                self.disconnected();
                return self.show();
            }
            self.disconnected();
            sleep(TICK).await;
            sleep_until(self.come_back.take().unwrap_or_else(Instant::now)).await;
            while self.crowd.stays_away(self.me) {
                sleep(TICK).await;
            }
        }
    }

    /// To its own server, or to the first of the others that can be reached.
    async fn connect(&mut self) -> Option<Socket> {
        self.homewards = *self.crowd.homewards.borrow();
        for (server, address) in self.crowd.servers_of(self.me) {
            if let Some((socket, hello)) = self.hello(&address).await {
                self.connected(server, &hello);
                return Some(socket);
            }
        }
        None
    }

    async fn hello(&self, address: &str) -> Option<(Socket, Value)> {
        let socket = dial(address, &self.crowd.people[self.me].token);
        let (socket, answer) = timeout(CONNECTING, socket).await.ok()??;
        answer.get("epoch")?;
        Some((socket, answer))
    }

    fn connected(&mut self, server: usize, hello: &Value) {
        // What it holds stays of the epoch in which it was told.
        if self.epoch.is_null() {
            self.epoch = hello["epoch"].clone();
        }
        self.heartbeat = Duration::from_secs(hello["heartbeat_s"].as_u64().expect("a number"));
        (self.heard, self.news) = (Instant::now(), Instant::now());
        (self.server, self.next, self.stale) = (server, 0, true);
        self.session += 1;
        self.watch_at = self.watches().then(Instant::now);
        self.crowd.recorder.came(self.me, self.session);
        self.crowd.set_server(self.me, Some(server));
    }

    /// The connection is gone and with it every answer.
    fn disconnected(&mut self) {
        self.crowd.recorder.left(self.me);
        self.crowd.set_server(self.me, None);
        self.crowd.set_idle(self.me, false);
        self.frames.clear();
        for asked in std::mem::take(&mut self.asked).into_values() {
            if let Asked::Send { message, .. } = asked {
                self.lost(message);
            }
        }
        self.crowd.set_waits_since(self.me, self.open.values().min().copied());
    }

    /// One connection's life. True: everything is done.
    async fn talk(&mut self, mut socket: Socket) -> bool {
        let mut tick = interval(TICK);
        let mut say_at = Instant::now() + self.crowd.habits.pause.mul_f64(self.dice.unit());
        loop {
            let phase = *self.crowd.phase.borrow();
            if phase == Phase::Read && self.has_read_everything() {
                return true;
            }
            if self.is_to_go_home() || self.heard.elapsed() > 2 * self.heartbeat {
                return false;
            }
            self.watch();
            self.catch_up();
            for frame in std::mem::take(&mut self.frames) {
                if socket.send(frame.to_string().into()).await.is_err() {
                    return false;
                }
            }
            // Of this turn's phase: while it is to talk, it may say something before it looks again.
            let idle = phase != Phase::Talk && self.again.is_empty() && self.unanswered() == 0;
            self.crowd.set_idle(self.me, idle);
            self.crowd.set_waits_since(self.me, self.open.values().min().copied());
            tokio::select! {
                frame = socket.next() => match frame {
                    Some(Ok(tungstenite::Message::Text(text))) => self.frame(&serde_json::from_str(&text).expect("JSON")),
                    Some(Ok(tungstenite::Message::Close(_)) | Err(_)) | None => return false,
                    Some(Ok(_)) => {}
                },
                now = tick.tick() => {
                    self.repeat();
                    if phase == Phase::Talk && now >= say_at {
                        self.say();
                        say_at = now + self.crowd.habits.pause.mul_f64(0.5 + self.dice.unit());
                    }
                }
            }
        }
    }

    fn is_to_go_home(&self) -> bool {
        self.server != self.crowd.home(self.me) && self.homewards != *self.crowd.homewards.borrow()
    }

    /// The answer to a `sync` that was asked for after everybody had settled is the last thing.
    fn has_read_everything(&mut self) -> bool {
        if !self.reading {
            (self.reading, self.stale) = (true, true);
            if self.news.elapsed() > QUIET {
                self.saw(Seen::Quiet);
            }
        }
        !self.stale && self.asked.is_empty()
    }

    fn ask(&mut self, cmd: &str, data: Value, asked: Asked) {
        self.next += 1;
        self.asked.insert(self.next, asked);
        self.frames.push(json!({ "id": self.next, "cmd": cmd, "data": data }));
    }

    fn frame(&mut self, frame: &Value) {
        self.heard = Instant::now();
        let Some(re) = frame["re"].as_u64() else { return self.event(frame) };
        match self.asked.remove(&re) {
            Some(Asked::Send { attempt, message }) => self.sent(attempt, message, frame),
            Some(Asked::Sync { positions }) => self.synced(&positions, &frame["ok"]),
            Some(Asked::List { conversation, until }) => self.listed(conversation, until, &frame["ok"]),
            Some(Asked::Watch) => self.watched(&frame["ok"]),
            Some(Asked::Rename) | None => {}
        }
    }

    fn show(self) {
        let held = self.crowd.of(self.me).filter_map(|conversation| {
            let rows = self.holdings.view(conversation.id)?;
            Some(View { client: self.me, conversation: conversation.id, rows })
        });
        let views: Vec<View> = held.collect();
        self.crowd.recorder.with(|history| history.views.extend(views));
    }
}

/// A socket at `host:port` that has said hello, and the answer: an object, or null if it was refused.
pub async fn dial(address: &str, token: &str) -> Option<(Socket, Value)> {
    let url = format!("ws://{address}/v1/ws");
    let (mut socket, _) = connect_async_with_config(url, None, true).await.ok()?;
    let hello = json!({ "id": 0, "cmd": "hello", "data": { "token": token } });
    socket.send(hello.to_string().into()).await.ok()?;
    let answer = socket.next().await?.ok()?;
    let mut answer: Value = serde_json::from_str(answer.to_text().ok()?).ok()?;
    Some((socket, answer["ok"].take()))
}
