//! A client as one would write it: it keeps what it was told, asks for what came after, and applies it. It reads the
//! answers' JSON and nothing else of the server's.

use crate::world::World;
use serde_json::Value;
use shared::{
    domain::{ConversationId, UserId},
    store::{
        conversations::ListedAt,
        messages::Window,
        sync::{Known, SyncAnswer, SyncLimits, SyncRequest},
    },
    view,
};
use std::collections::BTreeMap;
use uuid::Uuid;

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Said {
    pub body: String,
    pub rev: i64,
    pub deleted: bool,
}

/// What a client has of one conversation.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Local {
    pub seq: i64,
    pub rev: i64,
    pub title: String,
    pub unread: i64,
    pub roles: BTreeMap<UserId, String>,
    /// Read and delivered.
    pub marks: BTreeMap<UserId, (i64, i64)>,
    pub messages: BTreeMap<i64, Said>,
}

#[derive(Debug)]
pub struct Client {
    pub user: UserId,
    pub epoch: Option<String>,
    pub urev: i64,
    pub conversations: BTreeMap<ConversationId, Local>,
    pub limits: SyncLimits,
    /// Answers so far.
    pub pages: usize,
}

/// The answer; and in a crowd somebody gets the same without it being read for him, where there is nothing to read.
pub async fn sync(world: &World, user: UserId, request: &SyncRequest, limits: SyncLimits) -> SyncAnswer {
    let answer = world.store().sync(user, request, limits).await.expect("an answer");
    let (nobody, nothing) = (UserId::new(), SyncRequest { epoch: request.epoch.clone(), ..SyncRequest::default() });
    let crowd = [(nobody, &nothing), (user, request), (nobody, &nothing)];
    let found = world.store().list_unmoved(&crowd).await.expect("answers");
    assert_eq!(found[0].is_some(), found[2].is_some());
    let is_unmoved = match &answer {
        SyncAnswer::Page(page) => {
            assert!(request.epoch.is_none() || found[0].is_some(), "the others' own answers do not depend on his");
            request.epoch.is_some() && page.conversations.is_empty() && page.urev == request.urev && !page.more
        }
        SyncAnswer::Reset { .. } => false,
    };
    let found = found[1].as_ref().map(view::json);
    assert_eq!(found, is_unmoved.then(|| view::json(&answer)), "{request:?}");
    answer
}

pub fn number(value: &Value) -> i64 {
    value.as_i64().unwrap_or_else(|| panic!("a number, not {value}"))
}

pub fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("a text, not {value}")).to_owned()
}

pub fn id(value: &Value) -> Uuid {
    text(value).parse().expect("an id")
}

pub fn list(value: &Value) -> &Vec<Value> {
    value.as_array().unwrap_or_else(|| panic!("a list, not {value}"))
}

impl Client {
    pub fn new(user: UserId) -> Self {
        let (epoch, conversations) = (None, BTreeMap::new());
        Self { user, epoch, urev: 0, conversations, limits: SyncLimits::default(), pages: 0 }
    }

    /// Everything there is, read without `sync`.
    pub async fn fresh(world: &World, user: UserId) -> Self {
        let mut client = Self::new(user);
        client.load_all(world).await;
        client
    }

    async fn load_all(&mut self, world: &World) {
        let mut after = None;
        loop {
            let list = world.store().list_conversations(self.user, after, 2).await.expect("a page of the list");
            for conversation in &list.items {
                let json = serde_json::from_slice(&view::json(conversation)).expect("JSON");
                self.load(world, &json).await;
            }
            after = list.items.last().map(ListedAt::of);
            if !list.more {
                return;
            }
        }
    }

    /// A conversation begins anew: its view, and all of its history that may be read, newest first.
    async fn load(&mut self, world: &World, conversation: &Value) {
        let own = ConversationId(id(&conversation["id"]));
        let mut local = Local {
            seq: number(&conversation["seq"]),
            rev: number(&conversation["rev"]),
            title: text(&conversation["title"]),
            unread: number(&conversation["unread"]),
            ..Local::default()
        };
        list(&conversation["members"]).iter().for_each(|member| local.join(member));
        let mut window = Window::Newest;
        loop {
            let page = world.store().list_messages(self.user, own, window, 3).await.expect("a page of history");
            for message in &page.items {
                local.say(&serde_json::from_slice(&view::json(message)).expect("JSON"));
            }
            match page.first_seq {
                Some(first) if page.more_before => window = Window::Before(first),
                _ => break,
            }
        }
        self.conversations.insert(own, local);
    }

    pub fn request(&self) -> SyncRequest {
        let known = |(id, local): (&ConversationId, &Local)| {
            let marks = local.marks.values().map(|(read, delivered)| read + delivered).sum();
            (*id, Known { seq: local.seq, rev: local.rev, marks: Some(marks) })
        };
        SyncRequest {
            epoch: self.epoch.clone(),
            urev: self.urev,
            positions: self.conversations.iter().map(known).collect(),
        }
    }

    /// Asks once. Returns the answer.
    pub async fn sync(&mut self, world: &World) -> Value {
        let answer = sync(world, self.user, &self.request(), self.limits).await;
        let json = view::json(&answer);
        let answer: Value = serde_json::from_slice(&json).expect("JSON");
        self.pages += 1;
        self.apply(world, &answer).await;
        answer
    }

    /// Asks until there is no more.
    pub async fn settle(&mut self, world: &World) {
        for _ in 0..2000 {
            let answer = self.sync(world).await;
            if answer["reset"].is_null() && answer["more"] == false {
                return;
            }
        }
        panic!("two thousand pages and still more");
    }

    async fn apply(&mut self, world: &World, answer: &Value) {
        self.epoch = Some(text(&answer["epoch"]));
        self.urev = number(&answer["urev"]);
        if answer["reset"] == true {
            self.conversations.clear();
            return self.load_all(world).await;
        }
        for entry in list(&answer["conversations"]) {
            let own = ConversationId(id(&entry["id"]));
            if entry["left"] == true {
                self.conversations.remove(&own);
            } else if entry["new"].is_object() {
                self.load(world, &entry["new"]).await;
            } else if entry["reset"].is_object() {
                let conversation = world.store().get_conversation(self.user, own).await.expect("his conversation");
                // Closed while he was too far behind to be told of it: the conversation itself says so.
                if conversation.closed_at.is_some() {
                    self.conversations.remove(&own);
                    continue;
                }
                self.load(world, &serde_json::from_slice(&view::json(&conversation)).expect("JSON")).await;
                let local = self.conversations.get_mut(&own).expect("just loaded");
                (local.seq, local.rev) = (number(&entry["reset"]["seq"]), number(&entry["reset"]["rev"]));
            } else if self.conversations.get_mut(&own).expect("one that was named").catch_up(entry) {
                self.conversations.remove(&own);
            }
        }
    }
}

impl Local {
    /// True when it was closed.
    fn catch_up(&mut self, entry: &Value) -> bool {
        let (seq, rev) = (number(&entry["seq"]), number(&entry["rev"]));
        assert!(seq >= self.seq && rev >= self.rev, "a position never goes back: {entry}");
        (self.seq, self.rev, self.unread) = (seq, rev, number(&entry["unread"]));
        list(&entry["messages"]).iter().for_each(|message| self.say(message));
        let mut closed = false;
        for change in list(&entry["changes"]) {
            let data = &change["data"];
            match change["event"].as_str().expect("a name") {
                "none" => assert!(data.is_null(), "a place and nothing else: {change}"),
                "message.edited" | "message.deleted" => self.say(&data["message"]),
                "conversation.updated" => self.title = text(&data["conversation"]["title"]),
                "conversation.deleted" => closed = true,
                "member.added" => list(&data["members"]).iter().for_each(|member| self.join(member)),
                "member.removed" => {
                    self.roles.remove(&UserId(id(&data["user_id"])));
                }
                "member.updated" => {
                    self.roles.insert(UserId(id(&data["user_id"])), text(&data["role"]));
                }
                other => panic!("an event of no name: {other}"),
            }
        }
        let mark =
            |mark: &Value| (UserId(id(&mark["user_id"])), (number(&mark["read_seq"]), number(&mark["delivered_seq"])));
        self.marks = list(&entry["marks"]).iter().map(mark).collect();
        closed
    }

    fn join(&mut self, member: &Value) {
        let user = UserId(id(&member["user"]["id"]));
        self.roles.insert(user, text(&member["role"]));
        self.marks.insert(user, (number(&member["read_seq"]), number(&member["delivered_seq"])));
    }

    /// A state is never replaced by an earlier one.
    fn say(&mut self, message: &Value) {
        let said = Said {
            body: text(&message["body"]),
            rev: number(&message["rev"]),
            deleted: !message["deleted_at"].is_null(),
        };
        let seq = number(&message["seq"]);
        if self.messages.get(&seq).is_none_or(|before| before.rev <= said.rev) {
            self.messages.insert(seq, said);
        }
    }
}
