//! The people and what they talk in, and what all of their clients share: where the servers are now, what they are to do,
//! and the recorder.

use crate::history::{Recorder, Time};
use ecosystem::http;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
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
    /// How often everybody was sent back to the server that he belongs to.
    pub(super) homewards: watch::Sender<u32>,
    /// Sends that were answered `ok`, by the server that was asked.
    answered: Vec<AtomicU64>,
    states: Vec<State>,
    pub seed: u64,
}

/// What the suite and one client tell each other.
struct State {
    /// Has nothing unanswered.
    idle: AtomicBool,
    /// Once disconnected, stays away.
    stays_away: AtomicBool,
    /// The number of the server that it is connected to.
    server: AtomicUsize,
    /// When it first tried what has been waiting longest.
    waits_since: AtomicU64,
}

const NOWHERE: usize = usize::MAX;

impl State {
    fn new() -> Self {
        let (idle, stays_away) = (AtomicBool::new(false), AtomicBool::new(false));
        Self { idle, stays_away, server: AtomicUsize::new(NOWHERE), waits_since: AtomicU64::new(Time::MAX) }
    }
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
            states: (0..count).map(|_| State::new()).collect(),
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

    /// Connected to this server, or to none.
    pub fn set_server(&self, person: usize, server: Option<usize>) {
        self.states[person].server.store(server.unwrap_or(NOWHERE), Ordering::Relaxed);
    }

    pub fn is_here(&self, person: usize) -> bool {
        self.states[person].server.load(Ordering::Relaxed) != NOWHERE
    }

    pub fn all_at_home(&self) -> bool {
        let at = |person: usize| self.states[person].server.load(Ordering::Relaxed);
        (0..self.people.len()).all(|person| self.stays_away(person) || at(person) == self.home(person))
    }

    pub fn stays_away(&self, person: usize) -> bool {
        self.states[person].stays_away.load(Ordering::Relaxed)
    }

    pub fn let_stay_away(&self, person: usize, away: bool) {
        self.states[person].stays_away.store(away, Ordering::Relaxed);
    }

    pub fn set_waits_since(&self, person: usize, since: Option<Time>) {
        self.states[person].waits_since.store(since.unwrap_or(Time::MAX), Ordering::Relaxed);
    }

    /// When that was first tried which anybody has been waiting for longest.
    pub fn oldest_unanswered(&self) -> Time {
        let since = self.states.iter().map(|state| state.waits_since.load(Ordering::Relaxed));
        since.min().unwrap_or(Time::MAX)
    }

    /// Everybody but who is to stay away.
    pub fn all_idle(&self) -> bool {
        let idle = |state: &State| state.idle.load(Ordering::Relaxed) || state.stays_away.load(Ordering::Relaxed);
        self.states.iter().all(idle)
    }

    pub fn all_here(&self) -> bool {
        (0..self.people.len()).all(|person| self.is_here(person) != self.stays_away(person))
    }

    /// Everybody goes back to the server that he belongs to.
    pub fn send_home(&self) {
        self.homewards.send_modify(|calls| *calls += 1);
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

    /// The number of the server that a person belongs to.
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
