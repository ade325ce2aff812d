//! The people and what they talk in, and what all of their clients share: where the servers are now, what they are to do,
//! and the recorder.

use crate::history::Recorder;
use ecosystem::http;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::watch;
use uuid::Uuid;

/// What a client does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    Talk,
    /// Nothing new; what has no answer yet is sent again until it has one.
    Settle,
    /// Catch up once more, and end.
    Read,
}

/// What differs between the suites.
#[derive(Clone, Copy)]
pub struct Habits {
    pub people: usize,
    /// From one thing that somebody says to his next, on average.
    pub pause: Duration,
    /// Whether everybody watches who of the first group is here.
    pub watch: bool,
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
    pub habits: Habits,
    pub people: Vec<Person>,
    pub conversations: Vec<Conversation>,
    pub recorder: Recorder,
    /// `host:port` of each server, changed by restarts. The people are spread over them; who finds his own away goes to
    /// another, as a balancer would have it.
    servers: watch::Sender<Vec<String>>,
    pub phase: watch::Sender<Phase>,
    /// Raised to send everybody back to the server that he belongs to.
    pub homewards: watch::Sender<u32>,
    /// Sends that were answered `ok`, by the server that was asked.
    answered: Vec<AtomicU64>,
    states: Vec<State>,
    pub seed: u64,
}

/// What the suite and one client tell each other.
#[derive(Default)]
struct State {
    /// Has nothing unanswered.
    idle: AtomicBool,
    /// Once disconnected, stays away.
    stays_away: AtomicBool,
    /// Is connected.
    here: AtomicBool,
}

impl Crowd {
    /// Everybody registers with the first of the servers, and three groups and some pairs begin to talk.
    pub fn gather(servers: &[String], habits: Habits, seed: u64) -> Arc<Self> {
        let (server, count) = (&servers[0], habits.people);
        let people: Vec<Person> = (0..count).map(|number| register(server, number)).collect();
        let groups = [(0..count).collect(), (0..count * 3 / 5).collect(), (count * 2 / 5..count).collect()];
        let pairs = (0..count * 3 / 10).map(|pair| vec![2 * pair, 2 * pair + 1]);
        let conversations = groups.into_iter().chain(pairs).map(|members| begin(server, &people, members)).collect();
        Arc::new(Self {
            habits,
            people,
            conversations,
            recorder: Recorder::new(),
            servers: watch::Sender::new(servers.iter().map(|server| host(server)).collect()),
            phase: watch::Sender::new(Phase::Talk),
            homewards: watch::Sender::new(0),
            answered: servers.iter().map(|_| AtomicU64::new(0)).collect(),
            states: (0..count).map(|_| State::default()).collect(),
            seed,
        })
    }

    /// In the first group, to be taken out of it while everybody talks.
    pub fn removed(&self) -> usize {
        self.people.len() - 1
    }

    /// By the id that the server knows him by.
    pub fn number(&self, id: &str) -> Option<usize> {
        self.people.iter().position(|person| person.id == id)
    }

    pub fn set_idle(&self, person: usize, idle: bool) {
        self.states[person].idle.store(idle, Ordering::Relaxed);
    }

    pub fn set_here(&self, person: usize, here: bool) {
        self.states[person].here.store(here, Ordering::Relaxed);
    }

    pub fn is_here(&self, person: usize) -> bool {
        self.states[person].here.load(Ordering::Relaxed)
    }

    pub fn stays_away(&self, person: usize) -> bool {
        self.states[person].stays_away.load(Ordering::Relaxed)
    }

    pub fn let_stay_away(&self, person: usize, away: bool) {
        self.states[person].stays_away.store(away, Ordering::Relaxed);
    }

    /// Everybody but who is to stay away.
    pub fn all_idle(&self) -> bool {
        let idle = |state: &State| state.idle.load(Ordering::Relaxed) || state.stays_away.load(Ordering::Relaxed);
        self.states.iter().all(idle)
    }

    pub fn all_here(&self) -> bool {
        (0..self.people.len()).all(|person| self.is_here(person) != self.stays_away(person))
    }

    /// By the server that was asked, in the order of the servers.
    pub fn answered(&self) -> Vec<u64> {
        self.answered.iter().map(|count| count.load(Ordering::Relaxed)).collect()
    }

    pub fn count_answer(&self, server: usize) {
        self.answered[server].fetch_add(1, Ordering::Relaxed);
    }

    pub fn server_is_at(&self, number: usize, server: &str) {
        self.servers.send_modify(|servers| servers[number] = host(server));
    }

    /// The server that a person belongs to, and then the others.
    pub fn servers_of(&self, person: usize) -> Vec<(usize, String)> {
        let servers = self.servers.borrow();
        (0..servers.len()).map(|next| (person + next) % servers.len()).map(|at| (at, servers[at].clone())).collect()
    }

    pub fn home(&self, person: usize) -> usize {
        person % self.answered.len()
    }

    pub fn of(&self, person: usize) -> impl Iterator<Item = &Conversation> {
        self.conversations.iter().filter(move |conversation| conversation.members.contains(&person))
    }

    /// The first person takes the last out of the first group.
    pub fn remove_the_last(&self, server: &str) {
        let path = format!("/v1/conversations/{}/members/{}", self.conversations[0].id, self.people[self.removed()].id);
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
