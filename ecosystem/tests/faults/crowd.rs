//! Twenty people and what they talk in, and what all of their clients share: where the server is now, what they are to
//! do, and the recorder.

use crate::history::Recorder;
use ecosystem::http;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use tokio::sync::watch;
use uuid::Uuid;

pub const PEOPLE: usize = 20;
/// In the first group, taken out of it while everybody talks.
pub const REMOVED: usize = PEOPLE - 1;

/// What a client does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    Talk,
    /// Nothing new; what has no answer yet is sent again until it has one.
    Settle,
    /// Catch up once more, and end.
    Read,
}

pub struct Person {
    pub id: String,
    pub token: String,
}

pub struct Conversation {
    pub id: Uuid,
    pub members: Vec<usize>,
}

pub struct Crowd {
    pub people: Vec<Person>,
    pub conversations: Vec<Conversation>,
    pub recorder: Recorder,
    /// `host:port`, changed by every restart.
    pub address: watch::Sender<String>,
    pub phase: watch::Sender<Phase>,
    /// Sends that were answered `ok`, by anybody.
    pub answered: AtomicU64,
    /// Who has nothing unanswered, by number.
    idle: Vec<AtomicBool>,
    pub seed: u64,
}

impl Crowd {
    /// Everybody registers, and three groups and six pairs begin to talk.
    pub fn gather(server: &str, seed: u64) -> Arc<Self> {
        let people: Vec<Person> = (0..PEOPLE).map(|number| register(server, number)).collect();
        let groups = [(0..PEOPLE).collect(), (0..12).collect(), (8..PEOPLE).collect()];
        let pairs = (0..6).map(|pair| vec![2 * pair, 2 * pair + 1]);
        let conversations = groups.into_iter().chain(pairs).map(|members| begin(server, &people, members)).collect();
        Arc::new(Self {
            people,
            conversations,
            recorder: Recorder::new(),
            address: watch::Sender::new(host(server)),
            phase: watch::Sender::new(Phase::Talk),
            answered: AtomicU64::new(0),
            idle: (0..PEOPLE).map(|_| AtomicBool::new(false)).collect(),
            seed,
        })
    }

    pub fn set_idle(&self, person: usize, idle: bool) {
        self.idle[person].store(idle, Ordering::Relaxed);
    }

    pub fn all_idle(&self) -> bool {
        self.idle.iter().all(|idle| idle.load(Ordering::Relaxed))
    }

    pub fn server_is_at(&self, server: &str) {
        self.address.send_replace(host(server));
    }

    pub fn of(&self, person: usize) -> impl Iterator<Item = &Conversation> {
        self.conversations.iter().filter(move |conversation| conversation.members.contains(&person))
    }

    /// The first person takes the last out of the first group.
    pub fn remove_the_last(&self, server: &str) {
        let path = format!("/v1/conversations/{}/members/{}", self.conversations[0].id, self.people[REMOVED].id);
        let answer = http::request(server, "DELETE", &path, Some(&self.people[0].token), None).expect("an answer");
        assert!(answer.is_ok(), "{}: {}", answer.status, answer.body);
    }
}

fn host(server: &str) -> String {
    server.strip_prefix("http://").expect("an http:// address").to_owned()
}

fn ask(server: &str, path: &str, token: Option<&str>, body: &Value) -> Value {
    let answer = http::request(server, "POST", path, token, Some(body)).expect("an answer");
    assert!(answer.is_ok(), "{path}: {} {}", answer.status, answer.body);
    answer.json().expect("JSON")
}

fn register(server: &str, number: usize) -> Person {
    let body = json!({
        "username": format!("person{number}"), "email": format!("person{number}@example.org"), "password": "a long enough word"
    });
    let answer = ask(server, "/v1/auth/register", None, &body);
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    Person { id: text(&answer["user"]["id"]), token: text(&answer["access_token"]) }
}

fn begin(server: &str, people: &[Person], members: Vec<usize>) -> Conversation {
    let others: Vec<&str> = members[1..].iter().map(|member| people[*member].id.as_str()).collect();
    let body = match others.len() {
        1 => json!({ "kind": "direct", "member_ids": others }),
        _ => json!({ "kind": "group", "title": "A group", "member_ids": others }),
    };
    let answer = ask(server, "/v1/conversations", Some(&people[members[0]].token), &body);
    Conversation { id: answer["id"].as_str().and_then(|id| id.parse().ok()).expect("an id"), members }
}
