//! One person's client: says things, sends again under the same id what got no answer, keeps what it is told, catches up
//! when it is told to or comes back, and writes everything down. The server may vanish at any moment.

use crate::crowd::{Crowd, Phase};
use crate::dice::Dice;
use crate::history::{Message, Outcome, Seen, View};
use crate::holdings::{Holdings, Position, message};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::{Instant, interval, sleep, timeout};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async_with_config, tungstenite};
use uuid::Uuid;

/// Waiting for an answer at once.
const UNANSWERED_MAX: usize = 8;
/// From one thing said to the next, on average.
const PAUSE: Duration = Duration::from_millis(100);
const TICK: Duration = Duration::from_millis(20);
const CONNECTING: Duration = Duration::from_secs(5);
/// One in so many messages whose answer was lost is never sent again: nobody will ever know.
const GIVEN_UP: u64 = 10;
/// One in so many things said in a group by its owner is followed by another title.
const RENAMED: u64 = 10;

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// What an answer will be to.
enum Asked {
    Send { attempt: usize, message: Message },
    Sync { positions: HashMap<Uuid, Position> },
    List { conversation: Uuid, until: Position },
    Rename,
}

pub struct Client {
    crowd: Arc<Crowd>,
    me: usize,
    dice: Dice,
    holdings: Holdings,
    urev: i64,
    /// To be sent again, in the order first sent.
    again: VecDeque<Message>,
    /// Connections so far.
    session: u32,
    epoch: Value,
    next: u64,
    asked: BTreeMap<u64, Asked>,
    frames: Vec<Value>,
    /// Has to ask for `sync`.
    stale: bool,
    /// Has asked for it at the end.
    reading: bool,
}

impl Client {
    pub fn new(crowd: Arc<Crowd>, me: usize) -> Self {
        let holdings = Holdings::of(crowd.of(me).map(|conversation| conversation.id));
        Self {
            dice: Dice::new(crowd.seed.wrapping_mul(1000).wrapping_add(me as u64)),
            holdings,
            crowd,
            me,
            urev: 0,
            again: VecDeque::new(),
            session: 0,
            epoch: Value::Null,
            next: 0,
            asked: BTreeMap::new(),
            frames: vec![],
            stale: true,
            reading: false,
        }
    }

    /// Until everything has been read at the end.
    pub async fn run(mut self) {
        loop {
            let address = self.crowd.address.borrow().clone();
            let ended = match self.connect(&address).await {
                Some(socket) => self.talk(socket).await,
                None => false,
            };
            if ended {
                return self.show();
            }
            self.disconnected();
            sleep(TICK).await;
        }
    }

    async fn connect(&mut self, address: &str) -> Option<Socket> {
        let url = format!("ws://{address}/v1/ws");
        let (mut socket, _) = timeout(CONNECTING, connect_async_with_config(url, None, true)).await.ok()?.ok()?;
        let hello = json!({ "id": 0, "cmd": "hello", "data": { "token": self.crowd.people[self.me].token } });
        socket.send(hello.to_string().into()).await.ok()?;
        let answer = timeout(CONNECTING, socket.next()).await.ok()??.ok()?;
        let answer: Value = serde_json::from_str(answer.to_text().ok()?).ok()?;
        self.epoch = answer["ok"].get("epoch")?.clone();
        self.session += 1;
        self.next = 0;
        self.stale = true;
        Some(socket)
    }

    /// One connection's life. True: everything is done.
    async fn talk(&mut self, mut socket: Socket) -> bool {
        let mut tick = interval(TICK);
        let mut say_at = Instant::now();
        loop {
            let phase = *self.crowd.phase.borrow();
            if phase == Phase::Read && self.has_read_everything() {
                return true;
            }
            self.catch_up();
            for frame in std::mem::take(&mut self.frames) {
                if socket.send(frame.to_string().into()).await.is_err() {
                    return false;
                }
            }
            // Of this turn's phase: while it is to talk, it may say something before it looks again.
            let idle = phase != Phase::Talk && self.again.is_empty() && self.unanswered() == 0;
            self.crowd.set_idle(self.me, idle);
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
                        say_at = now + PAUSE.mul_f64(0.5 + self.dice.unit());
                    }
                }
            }
        }
    }

    /// The answer to a `sync` that was asked for after everybody had settled is the last thing.
    fn has_read_everything(&mut self) -> bool {
        if !self.reading {
            (self.reading, self.stale) = (true, true);
        }
        !self.stale && self.asked.is_empty()
    }

    fn ask(&mut self, cmd: &str, data: Value, asked: Asked) {
        self.next += 1;
        self.asked.insert(self.next, asked);
        self.frames.push(json!({ "id": self.next, "cmd": cmd, "data": data }));
    }

    fn unanswered(&self) -> usize {
        self.asked.values().filter(|asked| matches!(asked, Asked::Send { .. })).count()
    }

    fn say(&mut self) {
        let held: Vec<Uuid> = self.holdings.positions().map(|(id, _)| id).collect();
        let mine: Vec<_> = self.crowd.of(self.me).filter(|conversation| held.contains(&conversation.id)).collect();
        if mine.is_empty() || self.unanswered() >= UNANSWERED_MAX || !self.again.is_empty() {
            return;
        }
        let chosen = mine[self.dice.below(mine.len() as u64) as usize];
        let (conversation, owned) = (chosen.id, chosen.members[0] == self.me && chosen.members.len() > 2);
        let body = format!("{} says {:016x}", self.me, self.dice.next());
        self.send(Message { conversation, id: Uuid::now_v7(), body });
        if owned && self.dice.below(RENAMED) == 0 {
            let title = format!("Title {}", self.dice.next());
            self.ask("conversation.update", json!({ "conversation_id": conversation, "title": title }), Asked::Rename);
        }
    }

    fn send(&mut self, message: Message) {
        let attempt = self.crowd.recorder.sending(self.me, self.session, message.clone());
        let data = json!({ "conversation_id": message.conversation, "id": message.id, "body": message.body });
        self.ask("message.send", data, Asked::Send { attempt, message });
    }

    fn repeat(&mut self) {
        while self.unanswered() < UNANSWERED_MAX
            && let Some(message) = self.again.pop_front()
        {
            self.send(message);
        }
    }

    /// The connection is gone and with it every answer.
    fn disconnected(&mut self) {
        self.frames.clear();
        for asked in std::mem::take(&mut self.asked).into_values() {
            if let Asked::Send { message, .. } = asked
                && self.dice.below(GIVEN_UP) > 0
            {
                self.again.push_back(message);
            }
        }
        self.crowd.set_idle(self.me, false);
    }

    fn catch_up(&mut self) {
        if !self.stale || self.asked.values().any(|asked| !matches!(asked, Asked::Send { .. } | Asked::Rename)) {
            return;
        }
        self.stale = false;
        let positions: HashMap<Uuid, Position> = self.holdings.positions().collect();
        let named = positions.iter().map(|(id, at)| (id.to_string(), json!({ "seq": at.seq, "rev": at.rev })));
        let named: serde_json::Map<String, Value> = named.collect();
        let data = json!({ "epoch": self.epoch, "urev": self.urev, "positions": named });
        self.saw(Seen::Asked);
        self.ask("sync", data, Asked::Sync { positions });
    }

    fn saw(&self, seen: Seen) {
        self.crowd.recorder.saw(self.me, self.session, seen);
    }

    fn frame(&mut self, frame: &Value) {
        if let Some(re) = frame["re"].as_u64() {
            match self.asked.remove(&re) {
                Some(Asked::Send { attempt, message }) => self.sent(attempt, message, frame),
                Some(Asked::Sync { positions }) => self.synced(&positions, &frame["ok"]),
                Some(Asked::List { conversation, until }) => self.listed(conversation, until, &frame["ok"]),
                Some(Asked::Rename) | None => {}
            }
            return;
        }
        let conversation = frame["conversation_id"].as_str().and_then(|id| id.parse::<Uuid>().ok());
        match (frame["event"].as_str().unwrap_or_default(), conversation, Position::of(frame)) {
            ("resync", ..) => self.told(&frame["data"]["conversation_ids"]),
            ("heartbeat", ..) => self.frames.push(json!({ "cmd": "heartbeat" })),
            ("message.created", Some(conversation), Some(at)) => {
                let (_, message) = message(conversation, &frame["data"]["message"]).expect("a message");
                self.saw(Seen::Live { message: message.clone(), seq: at.seq, place: at.place() });
                self.holdings.event(conversation, at, Some((at.seq, message)));
            }
            (_, Some(conversation), Some(at)) => {
                self.saw(Seen::Change { conversation, place: at.place() });
                self.holdings.event(conversation, at, None);
            }
            // One's own: taken out of a conversation.
            ("conversation.deleted", ..) => {
                let id = frame["data"]["conversation_id"].as_str().and_then(|id| id.parse().ok());
                self.holdings.forget(id.expect("an id"));
            }
            _ => {}
        }
    }

    fn told(&mut self, conversations: &Value) {
        self.stale = true;
        match conversations.as_array() {
            None => self.saw(Seen::Told { conversation: None }),
            Some(ids) => {
                for id in ids {
                    let conversation = id.as_str().and_then(|id| id.parse().ok());
                    self.saw(Seen::Told { conversation });
                }
            }
        }
    }

    fn sent(&mut self, attempt: usize, message: Message, frame: &Value) {
        let recorder = &self.crowd.recorder;
        if let Some(seq) = frame["ok"]["message"]["seq"].as_i64() {
            recorder.answered(attempt, Outcome::Ok { seq });
            self.crowd.answered.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let code = frame["error"]["code"].as_str().expect("a code").to_owned();
        let again = match code.as_str() {
            "timeout" | "internal" => {
                recorder.answered(attempt, Outcome::Unknown);
                true
            }
            // Done it is not, says the server; it may be later.
            "unavailable" | "overloaded" | "rate_limited" => {
                recorder.answered(attempt, Outcome::Refused { code });
                true
            }
            _ => {
                recorder.answered(attempt, Outcome::Refused { code });
                false
            }
        };
        if again {
            self.again.push_back(message);
        }
    }

    fn synced(&mut self, asked: &HashMap<Uuid, Position>, page: &Value) {
        let Some(entries) = page["conversations"].as_array() else {
            // Refused for now: PostgreSQL is away.
            assert_ne!(page["reset"], true, "the database is the same");
            self.stale = true;
            return;
        };
        self.urev = page["urev"].as_i64().expect("a number");
        let more = page["more"] == true;
        self.stale |= more;
        let mut silent = asked.clone();
        for entry in entries {
            let id: Uuid = entry["id"].as_str().and_then(|id| id.parse().ok()).expect("an id");
            silent.remove(&id);
            if entry["left"] == true {
                self.holdings.forget(id);
            } else if let Some(until) = Position::of(&entry["reset"]) {
                self.list(id, until);
            } else if let Some(at) = Position::of(entry) {
                let rows = entry["messages"].as_array().expect("a list").iter();
                self.holdings.rows(id, rows.filter_map(|row| message(id, row)));
                self.reached(id, at);
            }
        }
        if !more {
            // What has not moved is not named.
            silent.into_iter().for_each(|(id, at)| self.reached(id, at));
        }
    }

    fn reached(&mut self, conversation: Uuid, at: Position) {
        self.holdings.reached(conversation, at);
        self.saw(Seen::Synced { conversation, place: at.place() });
    }

    /// Too far behind for `sync`: page by page.
    fn list(&mut self, conversation: Uuid, until: Position) {
        let data = json!({ "conversation_id": conversation, "after": self.holdings.seq(conversation), "limit": 100 });
        self.ask("message.list", data, Asked::List { conversation, until });
    }

    fn listed(&mut self, conversation: Uuid, until: Position, page: &Value) {
        let Some(items) = page["items"].as_array() else {
            self.stale = true;
            return;
        };
        self.holdings.rows(conversation, items.iter().filter_map(|row| message(conversation, row)));
        match page["last_seq"].as_i64() {
            Some(seq) if seq < until.seq && !items.is_empty() => {
                self.holdings.reached(conversation, Position { seq, rev: 0 });
                self.list(conversation, until);
            }
            _ => self.reached(conversation, until),
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
