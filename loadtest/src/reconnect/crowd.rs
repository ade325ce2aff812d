//! The people of one part and their sockets: who is dialling, who is greeted, who catches up, who waits for his next attempt.

use super::dialer::{Dialer, Dialled};
use super::person::{Epoch, Person, Phase, Then};
use super::population::Population;
use super::words::{Brief, Fates, Return};
use crate::http::Server;
use crate::rooms::plan::mix;
use crate::rooms::scan::{Scanner, Seen};
use crate::setup::token::Mint;
use crate::socket::swarm::Swarm;
use crate::wire::Kind;
use anyhow::{Result, bail};
use shared::clock;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap};
use std::time::{Duration, Instant};
use uuid::Uuid;

/// How long sockets are waited for before timers and newly dialled ones are looked at.
const WAIT: Duration = Duration::from_millis(5);
/// First syncs at once; afterwards everybody syncs when he has to.
const FIRST_SYNCS: usize = 64;
/// A server that does not answer hello or sync for so long is given up, and another attempt made.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);
/// A hello or sync that was refused for now is said again after this.
const AGAIN: Duration = Duration::from_secs(1);
/// docs/socket.md, "Closes": pauses grow up to half a minute.
const PAUSE_MAX: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_secs(1);

pub struct Crowd {
    population: Population,
    first: u32,
    mint: Mint,
    jitter: Duration,
    numbers: HashMap<Uuid, u32>,
    people: Vec<Client>,
    swarm: Swarm,
    dialer: Dialer,
    scanner: Scanner,
    epoch: Epoch,
    /// Places whose next attempt, or whose sync that was refused, is due.
    timers: BinaryHeap<Reverse<(Instant, usize)>>,
    /// Texts that follow from what was read.
    outgoing: Vec<(usize, String)>,
    /// Still to sync for the first time.
    unsynced: Vec<usize>,
    /// Not whole yet for the first time; when nobody is left, everybody is once, and fates are counted.
    unfinished: u32,
    whole: bool,
    /// Without a socket, or not whole again.
    away: u32,
    closed_seen: u64,
    looked: Instant,
    pub fates: Fates,
    failures: BTreeMap<String, u64>,
}

#[derive(Default)]
struct Client {
    person: Person,
    /// Since its last step: hello or sync sent.
    asked: Option<Instant>,
    /// Of the way back that is under way.
    way: Return,
    has_been_open: bool,
    has_been_whole: bool,
}

impl Crowd {
    pub fn new(brief: &Brief) -> Result<Self> {
        let population = brief.population;
        let (server, count) = (Server::parse(&brief.url)?, brief.end.saturating_sub(brief.first) as usize);
        let client = |person| Client { person: Person::new(&population, person), ..Client::default() };
        Ok(Self {
            first: brief.first,
            mint: Mint::new(&brief.pattern, brief.secret.as_bytes())?,
            jitter: Duration::from_millis(brief.jitter_ms),
            numbers: (0..population.conversations()).map(|n| (population.conversation(n), n)).collect(),
            people: (brief.first..brief.end).map(client).collect(),
            swarm: Swarm::new(count)?,
            dialer: Dialer::start(server, brief.sources)?,
            scanner: Scanner::new(),
            epoch: Epoch::default(),
            timers: BinaryHeap::new(),
            outgoing: Vec::new(),
            unsynced: Vec::new(),
            unfinished: brief.end.saturating_sub(brief.first),
            whole: false,
            away: 0,
            closed_seen: 0,
            looked: clock::monotonic(),
            fates: Fates::default(),
            failures: BTreeMap::new(),
            population,
        })
    }

    pub fn len(&self) -> u32 {
        self.people.len() as u32
    }

    pub fn open(&mut self) {
        (0..self.people.len()).for_each(|place| self.dialer.dial(place));
    }

    pub fn sync_all(&mut self) {
        self.unsynced = (0..self.people.len()).rev().collect();
        let first = self.unsynced.len().min(FIRST_SYNCS);
        (0..first).for_each(|_| self.next_first_sync());
    }

    fn next_first_sync(&mut self) {
        if let Some(place) = self.unsynced.pop() {
            self.sync(place);
        }
    }

    pub fn is_open(&self) -> bool {
        self.people.iter().all(|client| client.person.phase != Phase::Away)
    }

    pub fn is_whole(&self) -> bool {
        self.whole
    }

    /// How many have lost their socket since everybody was whole, and how many of these have come back.
    pub fn standing(&self) -> (u32, u32) {
        let back = self.fates.returns.len() as u32;
        (back + self.away, back)
    }

    /// One turn: what is due, what was dialled, what came.
    pub fn turn(&mut self) -> Result<()> {
        while let Some(Reverse((due, place))) = self.timers.peek().copied()
            && due <= clock::monotonic()
        {
            self.timers.pop();
            self.due(place);
        }
        while let Ok(dialled) = self.dialer.dialled.try_recv() {
            self.dialled(dialled)?;
        }
        let mut broken = None;
        let Self { swarm, people, scanner, numbers, population, epoch, outgoing, fates, .. } = self;
        let mut news = Vec::new();
        swarm.poll(WAIT, &mut |place, text, _| {
            let person = &mut people[place].person;
            match scanner.look(text) {
                Seen::Created { conversation, seq, .. } => {
                    let id = std::str::from_utf8(conversation).ok().and_then(|id| Uuid::parse_str(id).ok());
                    let number = id.and_then(|id| numbers.get(&id).copied());
                    if number.is_some_and(|number| !person.event(number, seq)) {
                        fates.holes += 1;
                        outgoing.push((place, person.sync(population, epoch)));
                        fates.syncs += 1;
                    }
                }
                Seen::Resync(_) => {
                    fates.resyncs += 1;
                    if person.resync() {
                        outgoing.push((place, person.sync(population, epoch)));
                        fates.syncs += 1;
                    }
                }
                Seen::Event => {}
                _ if text.starts_with(b"{\"re\":") => {
                    let number = |id: &Uuid| numbers.get(id).copied();
                    news.push((place, person.answered(text, population, epoch, &mut fates.moved, &number)));
                }
                _ => broken = Some(String::from_utf8_lossy(text).into_owned()),
            }
        })?;
        if let Some(text) = broken {
            bail!("the server said what nobody understands: {text}");
        }
        for (place, then) in news {
            self.follow(place, then)?;
        }
        for (place, text) in std::mem::take(&mut self.outgoing) {
            self.send(place, &text);
        }
        self.look_for_the_lost();
        Ok(())
    }

    fn follow(&mut self, place: usize, then: Then) -> Result<()> {
        let client = &mut self.people[place];
        client.asked = None;
        match then {
            Then::Greeted => {
                client.way.greeted_us = now_us();
                // The first time everybody waits until all are there.
                if self.whole || client.has_been_open {
                    self.sync(place);
                }
                self.people[place].has_been_open = true;
            }
            Then::Send(text) => {
                self.fates.syncs += 1;
                self.send(place, &text);
            }
            Then::Later(code) => {
                let what = if client.person.phase == Phase::Away { "hello" } else { "sync" };
                *self.failures.entry(format!("{what}: {code}")).or_default() += 1;
                self.later(place, AGAIN);
            }
            Then::Whole => self.settled(place),
            Then::Broken(why) => bail!("person {}: {why}", self.first + place as u32),
        }
        Ok(())
    }

    fn settled(&mut self, place: usize) {
        let client = &mut self.people[place];
        let way = std::mem::take(&mut client.way);
        // Who only filled a hole, or was told to, was never away.
        if way.lost_us > 0 {
            self.away -= 1;
            self.fates.returns.push(Return { back_us: now_us(), ..way });
        }
        if !std::mem::replace(&mut client.has_been_whole, true) {
            self.unfinished -= 1;
            self.whole = self.unfinished == 0;
            self.next_first_sync();
        }
    }

    fn sync(&mut self, place: usize) {
        let text = self.people[place].person.sync(&self.population, &self.epoch);
        self.fates.syncs += 1;
        self.send(place, &text);
    }

    fn send(&mut self, place: usize, text: &str) {
        self.people[place].asked = Some(clock::monotonic());
        self.swarm.send(place, text.as_bytes());
    }

    fn greet(&mut self, place: usize) {
        let person = self.first + place as u32;
        let token = self.mint.token_of(self.population.user(person), self.population.session(person));
        self.send(place, &Person::hello(&token));
    }

    fn due(&mut self, place: usize) {
        if !self.swarm.is_open(place) {
            return self.dialer.dial(place);
        }
        match self.people[place].person.phase {
            Phase::Away => self.greet(place),
            Phase::Syncing => {
                let text = self.people[place].person.ask(&self.population, &self.epoch);
                self.fates.syncs += 1;
                self.send(place, &text);
            }
            Phase::Greeted | Phase::Whole => {}
        }
    }

    fn dialled(&mut self, (place, stream): Dialled) -> Result<()> {
        self.people[place].way.attempts += 1;
        match stream {
            Ok(stream) => {
                self.people[place].way.connected_us = now_us();
                self.swarm.put(place, stream, Kind::Bare)?;
                self.greet(place);
            }
            Err(error) => {
                *self.failures.entry(error.root_cause().to_string()).or_default() += 1;
                self.pause(place);
            }
        }
        Ok(())
    }

    /// Whose socket has ended comes back; whose server does not answer, too.
    fn look_for_the_lost(&mut self) {
        if self.looked.elapsed() >= LOOK {
            self.looked = clock::monotonic();
            let silent = |client: &Client| client.asked.is_some_and(|asked| asked.elapsed() > ANSWER_LIMIT);
            for place in (0..self.people.len()).filter(|place| silent(&self.people[*place])).collect::<Vec<_>>() {
                *self.failures.entry("no answer to hello or sync".to_owned()).or_default() += 1;
                self.swarm.close(place);
            }
        }
        if self.swarm.tally.closed == self.closed_seen {
            return;
        }
        self.closed_seen = self.swarm.tally.closed;
        for place in self.swarm.gaps() {
            let client = &mut self.people[place];
            // Those who are dialling, or wait to, have no socket and are known.
            let is_news = client.asked.take().is_some() || client.person.phase != Phase::Away;
            if !is_news {
                continue;
            }
            client.person.lost();
            if self.whole && client.way.lost_us == 0 {
                client.way = Return { lost_us: now_us(), ..Return::default() };
                self.away += 1;
            }
            self.pause(place);
        }
    }

    /// Before the next attempt: anything up to the jitter, doubled with each that failed.
    fn pause(&mut self, place: usize) {
        let attempts = self.people[place].way.attempts.min(10);
        let most = (self.jitter * 2_u32.pow(attempts)).min(PAUSE_MAX);
        let drawn = mix(now_us() ^ (place as u64) << 40) % 10_000;
        self.later(place, most.mul_f64(drawn as f64 / 10_000.0));
    }

    fn later(&mut self, place: usize, pause: Duration) {
        self.timers.push(Reverse((clock::monotonic() + pause, place)));
    }

    pub fn report(&mut self, heads: &[(u32, u64)]) -> Fates {
        let heads: HashMap<u32, u64> = heads.iter().copied().collect();
        let head = |conversation: u32| heads.get(&conversation).copied().unwrap_or(0);
        let mut fates = self.fates.clone();
        for (place, client) in self.people.iter().enumerate() {
            if let Some((conversation, seq)) = client.person.behind(&head) {
                fates.behind += 1;
                fates.behind_example.get_or_insert_with(|| {
                    let (person, id) = (self.first + place as u32, self.population.conversation(conversation));
                    format!("person {person} has {seq} of {} messages of {id}", head(conversation))
                });
            }
        }
        fates.failures = self.failures.iter().map(|(why, count)| (why.clone(), *count)).collect();
        fates
    }
}

fn now_us() -> u64 {
    clock::now().timestamp_micros().unsigned_abs()
}
