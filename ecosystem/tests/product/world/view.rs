//! What a well-made client shows: it applies events by their place, catches up by `sync` when it is told to or comes
//! back, and can be compared with the tables.

use super::{PATIENCE, Person, Refused, Socket, World, id};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

#[derive(Clone, Default, PartialEq, Debug)]
pub struct Seen {
    pub seq: i64,
    pub rev: i64,
    pub title: Option<String>,
    pub closed: bool,
    /// By `seq`: id, sender, text, the last change it contains, whether it was deleted.
    pub messages: BTreeMap<i64, (String, String, String, i64, bool)>,
    /// By user: the role.
    pub members: BTreeMap<String, String>,
}

pub struct View {
    me: Person,
    epoch: Option<String>,
    urev: i64,
    pub conversations: BTreeMap<String, Seen>,
    /// Told to read again, and has not yet.
    stale: bool,
    /// How often it was told.
    pub resyncs: usize,
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned()
}

/// Asks again while a part of the server is away.
pub async fn surely(socket: &mut Socket, cmd: &str, data: Value) -> Result<Value, Refused> {
    loop {
        match socket.ask(cmd, data.clone()).await {
            Err(refused) if ["unavailable", "overloaded", "timeout"].contains(&refused.code.as_str()) => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            answer => return answer,
        }
    }
}

fn number(value: &Value) -> i64 {
    value.as_i64().unwrap_or_else(|| panic!("no number: {value}"))
}

impl View {
    /// A client that begins with nothing.
    pub async fn begin(me: &Person, socket: &mut Socket) -> Self {
        let mut view =
            Self { me: me.clone(), epoch: None, urev: 0, conversations: BTreeMap::new(), stale: true, resyncs: 0 };
        view.catch_up(socket).await;
        view
    }

    /// Asks for what came after its positions until there is no more.
    pub async fn catch_up(&mut self, socket: &mut Socket) {
        loop {
            let position = |seen: &Seen| json!({ "seq": seen.seq, "rev": seen.rev });
            let positions: BTreeMap<_, _> = self.conversations.iter().map(|(id, seen)| (id, position(seen))).collect();
            let ask = json!({ "epoch": self.epoch, "urev": self.urev, "positions": positions });
            self.stale = false;
            let page = surely(socket, "sync", ask).await.expect("nobody is refused a sync");
            self.epoch = Some(text(&page["epoch"]));
            self.urev = number(&page["urev"]);
            if page["reset"] == true {
                return self.read_everything(socket).await;
            }
            for entry in page["conversations"].as_array().expect("a list") {
                self.entry(entry, socket).await;
            }
            if page["more"] != true {
                return;
            }
        }
    }

    /// Applies what comes until `done`, catching up where it is told to.
    pub async fn follow(&mut self, socket: &mut Socket, done: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if self.stale {
                self.catch_up(socket).await;
            }
            if !self.stale && done(self) {
                return;
            }
            assert!(Instant::now() < deadline, "not there in time: {:?}", self.conversations);
            let frame = socket.next().await;
            self.apply(&frame, socket).await;
        }
    }

    /// The texts of a conversation, in order.
    pub fn texts(&self, conversation: &str) -> Vec<&str> {
        let seen = self.conversations.get(conversation);
        seen.iter().flat_map(|seen| seen.messages.values()).map(|message| message.2.as_str()).collect()
    }

    /// Applies what has come, without waiting for more.
    pub async fn take_in(&mut self, socket: &mut Socket) {
        for frame in socket.forget() {
            self.apply(&frame, socket).await;
        }
        if self.stale {
            self.catch_up(socket).await;
        }
    }

    async fn read_everything(&mut self, socket: &mut Socket) {
        self.conversations.clear();
        let mut cursor = Value::Null;
        loop {
            let mut ask = json!({ "limit": 100 });
            if !cursor.is_null() {
                ask["cursor"] = cursor;
            }
            let mut page = surely(socket, "conversation.list", ask).await.expect("nobody is refused his list");
            for conversation in page["items"].as_array().expect("a list") {
                self.conversation(conversation, socket).await;
            }
            cursor = page["next"].take();
            if cursor.is_null() {
                return;
            }
        }
    }

    async fn entry(&mut self, entry: &Value, socket: &mut Socket) {
        let id = text(&entry["id"]);
        if entry["new"].is_object() {
            return self.conversation(&entry["new"], socket).await;
        }
        if entry["left"] == true {
            self.conversations.remove(&id);
            return;
        }
        if entry["reset"].is_object() {
            let Ok(conversation) = surely(socket, "conversation.get", json!({ "conversation_id": id })).await else {
                return;
            };
            return self.conversation(&conversation, socket).await;
        }
        let seen = self.conversations.get_mut(&id).expect("only what was asked for is answered");
        for message in entry["messages"].as_array().expect("a list") {
            seen.put(message);
        }
        for change in entry["changes"].as_array().expect("a list") {
            let name = text(&change["event"]);
            assert!(name != "none" || change["data"].is_null(), "{change}");
            seen.change(&name, &change["data"]);
        }
        (seen.seq, seen.rev) = (number(&entry["seq"]), number(&entry["rev"]));
    }

    /// A conversation as it is now, with its history.
    async fn conversation(&mut self, view: &Value, socket: &mut Socket) {
        let id = text(&view["id"]);
        let mut seen = Seen { seq: number(&view["seq"]), rev: number(&view["rev"]), ..Seen::default() };
        seen.title = view["title"].as_str().map(str::to_owned);
        seen.join(&view["members"]);
        let mut after = 0;
        while after < seen.seq {
            let ask = json!({ "conversation_id": id, "after": after, "limit": 100 });
            // Lost again meanwhile: what says so is on its way.
            let Ok(page) = surely(socket, "message.list", ask).await else { break };
            page["items"].as_array().expect("a list").iter().for_each(|message| seen.put(message));
            after = page["last_seq"].as_i64().unwrap_or(seen.seq);
        }
        self.conversations.insert(id, seen);
    }

    /// One frame, as it came.
    pub async fn apply(&mut self, frame: &Value, socket: &mut Socket) {
        let Some(name) = frame["event"].as_str() else { return };
        if name == "resync" {
            self.resyncs += 1;
            self.stale = true;
        } else if let Some(urev) = frame["urev"].as_i64() {
            // A later one before an earlier one: both are in the answer of a sync.
            self.stale |= urev > self.urev + 1;
            if urev == self.urev + 1 {
                self.urev = urev;
                self.own_change(name, &frame["data"], socket).await;
            }
        } else if let Some(seq) = frame["seq"].as_i64() {
            self.placed(frame, name, seq);
        }
    }

    async fn own_change(&mut self, name: &str, data: &Value, socket: &mut Socket) {
        match name {
            "conversation.created" => self.conversation(&data["conversation"], socket).await,
            "conversation.deleted" => drop(self.conversations.remove(&text(&data["conversation_id"]))),
            other => panic!("{other} in a user's own stream"),
        }
    }

    fn placed(&mut self, frame: &Value, name: &str, seq: i64) {
        let rev = number(&frame["rev"]);
        let Some(seen) = self.conversations.get_mut(&text(&frame["conversation_id"])) else {
            // The word that it began was lost with a worker or overtaken: it is in the next answer of a sync.
            self.stale |= name != "member.removed";
            return;
        };
        let place = seen.seq + seen.rev;
        if seq + rev <= place {
            return;
        }
        // In order, or told: promise 4. What was said just before one's own removal may not come any more.
        let own_removal = name == "member.removed" && frame["data"]["user_id"] == self.me.id.as_str();
        let in_order = seq + rev == place + 1 || own_removal;
        assert!(self.stale || in_order, "after {}, {} without a resync: {frame}", seen.seq, seen.rev);
        if seq + rev == place + 1 {
            (seen.seq, seen.rev) = (seq, rev);
            seen.change(name, &frame["data"]);
        }
    }

    /// Shows what the tables hold.
    #[track_caller]
    pub fn assert_shows(&self, truth: &BTreeMap<String, Seen>) {
        for (id, seen) in &self.conversations {
            let stored = truth.get(id).unwrap_or_else(|| panic!("{id} is not in the tables, or not theirs"));
            assert_eq!(seen, stored, "shown (left), stored (right)");
        }
        let missing = truth.iter().find(|(id, stored)| !stored.closed && !self.conversations.contains_key(*id));
        assert!(missing.is_none(), "not shown: {missing:?}");
    }

    /// The same after fetching the truth.
    pub async fn settle(&mut self, world: &World, socket: &mut Socket) {
        let truth = world.truth(&self.me).await;
        let there = |view: &Self| {
            truth.iter().all(|(id, stored)| {
                let shown = view.conversations.get(id);
                shown.map_or(stored.closed, |seen| seen.seq >= stored.seq && seen.rev >= stored.rev)
            }) && view.conversations.keys().all(|id| truth.contains_key(id))
        };
        self.follow(socket, there).await;
        self.assert_shows(&truth);
    }
}

impl Seen {
    /// The state that contains more changes is the newer one.
    fn put(&mut self, message: &Value) {
        let deleted = !message["deleted_at"].is_null();
        let (id, sender, body) = (text(&message["id"]), text(&message["sender_id"]), text(&message["body"]));
        let new = (id, sender, body, number(&message["rev"]), deleted);
        let there = self.messages.entry(number(&message["seq"])).or_insert_with(|| new.clone());
        if there.3 < new.3 {
            *there = new;
        }
    }

    fn join(&mut self, members: &Value) {
        for member in members.as_array().expect("a list") {
            self.members.insert(text(&member["user"]["id"]), text(&member["role"]));
        }
    }

    fn change(&mut self, name: &str, data: &Value) {
        match name {
            "message.created" | "message.edited" | "message.deleted" => self.put(&data["message"]),
            "conversation.updated" => self.title = data["conversation"]["title"].as_str().map(str::to_owned),
            "conversation.deleted" => self.closed = true,
            "member.added" => self.join(&data["members"]),
            "member.removed" => drop(self.members.remove(&text(&data["user_id"]))),
            "member.updated" => drop(self.members.insert(text(&data["user_id"]), text(&data["role"]))),
            "none" => {}
            other => panic!("{other} is no change of a conversation"),
        }
    }
}

impl World {
    /// What somebody may see, from the tables.
    pub async fn truth(&self, person: &Person) -> BTreeMap<String, Seen> {
        let mine = "SELECT c.id::text, last_seq, last_rev, title, closed_at IS NOT NULL FROM conversations c
            JOIN members m ON m.conversation_id = c.id WHERE m.user_id = $1";
        let mut all = BTreeMap::new();
        for row in self.sql.query(mine, &[&person.user().0]).await.expect("the table") {
            let of: String = row.get(0);
            let (seq, rev, title, closed) = (row.get(1), row.get(2), row.get(3), row.get(4));
            let mut seen = Seen { seq, rev, title, closed, ..Seen::default() };
            let said = "SELECT seq, id::text, sender_id::text, body, rev, deleted_at IS NOT NULL FROM messages
                WHERE conversation_id = $1 ORDER BY seq";
            for row in self.sql.query(said, &[&id(&of)]).await.expect("the table") {
                seen.messages.insert(row.get(0), (row.get(1), row.get(2), row.get(3), row.get(4), row.get(5)));
            }
            let who = "SELECT user_id::text, role FROM members WHERE conversation_id = $1";
            for row in self.sql.query(who, &[&id(&of)]).await.expect("the table") {
                seen.members.insert(row.get(0), row.get(1));
            }
            all.insert(of, seen);
        }
        all
    }
}
