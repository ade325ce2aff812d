//! One client as docs/socket.md wants it: after hello it syncs, by at most 200 positions at a time; it follows its
//! conversations by `seq`; where one is missing, or it is told `resync`, it syncs again. Pure: texts in, texts out.

use super::population::Population;
use serde::Deserialize;
use std::fmt::Write;
use uuid::Uuid;

/// Positions of one sync (docs/socket.md, `sync_positions_max`).
pub const POSITIONS: usize = 200;
/// The request ids of a client: hello, then syncs.
const HELLO: u64 = 1;
const SYNC: u64 = 2;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// Without a socket, or its hello is not answered yet.
    #[default]
    Away,
    /// Greeted, and told nothing of what it missed.
    Greeted,
    Syncing,
    Whole,
}

/// A conversation of the client's: its number, and the position that it stands at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Position {
    conversation: u32,
    seq: u64,
    rev: u64,
}

#[derive(Clone, Debug, Default)]
pub struct Person {
    pub phase: Phase,
    positions: Vec<Position>,
    /// Where the sync under way begins.
    chunk: usize,
    /// Something was said meanwhile that this sync may have been too early for.
    again: bool,
    /// Live events that came before their predecessors, which the sync will bring.
    ahead: Vec<(u32, u64)>,
}

/// What follows from a text.
#[derive(Debug, PartialEq, Eq)]
pub enum Then {
    Greeted,
    /// Send this sync.
    Send(String),
    /// Has everything.
    Whole,
    /// Refused for now: the same again after a pause.
    Later(String),
    Broken(String),
}

#[derive(Deserialize)]
struct Answer {
    re: u64,
    ok: Option<Page>,
    error: Option<Refusal>,
}

#[derive(Deserialize)]
struct Refusal {
    code: String,
}

/// Of hello's answer nothing but the epoch; of sync's what a position needs.
#[derive(Deserialize)]
struct Page {
    epoch: String,
    #[serde(default)]
    reset: bool,
    #[serde(default)]
    conversations: Vec<Entry>,
    #[serde(default)]
    more: bool,
}

#[derive(Deserialize)]
struct Entry {
    id: Uuid,
    seq: Option<u64>,
    rev: Option<u64>,
}

/// What the answers of one client's server say to all of them.
#[derive(Clone, Debug, Default)]
pub struct Epoch(pub String);

impl Person {
    pub fn new(population: &Population, person: u32) -> Self {
        let at_start = |conversation| Position { conversation, seq: 0, rev: 0 };
        Self { positions: population.conversations_of(person).map(at_start).collect(), ..Self::default() }
    }

    pub fn hello(token: &str) -> String {
        format!(r#"{{"id":{HELLO},"cmd":"hello","data":{{"token":"{token}"}}}}"#)
    }

    pub fn lost(&mut self) {
        self.phase = Phase::Away;
        (self.again, self.chunk) = (false, 0);
        self.ahead.clear();
    }

    /// Begins to sync from its first position.
    pub fn sync(&mut self, population: &Population, epoch: &Epoch) -> String {
        self.phase = Phase::Syncing;
        (self.again, self.chunk) = (false, 0);
        self.ask(population, epoch)
    }

    /// The sync under way, said again.
    pub fn ask(&self, population: &Population, epoch: &Epoch) -> String {
        let end = self.positions.len().min(self.chunk + POSITIONS);
        let mut text = format!(r#"{{"id":{SYNC},"cmd":"sync","data":{{"epoch":"{}","urev":0,"positions":{{"#, epoch.0);
        for (n, position) in self.positions[self.chunk..end].iter().enumerate() {
            let id = population.conversation(position.conversation);
            let comma = if n == 0 { "" } else { "," };
            write!(text, r#"{comma}"{id}":{{"seq":{},"rev":{}}}"#, position.seq, position.rev)
                .expect("cannot fail because a String takes everything");
        }
        text.push_str("}}}");
        text
    }

    /// An answer to hello or sync; `moved` counts conversations with news, `number` finds their numbers.
    pub fn answered(
        &mut self,
        text: &[u8],
        population: &Population,
        epoch: &mut Epoch,
        moved: &mut u64,
        number: &dyn Fn(&Uuid) -> Option<u32>,
    ) -> Then {
        let Ok(answer) = serde_json::from_slice::<Answer>(text) else {
            return Then::Broken("not an answer".to_owned());
        };
        let page = match (answer.ok, answer.error) {
            (Some(page), _) => page,
            (None, Some(error)) if matches!(error.code.as_str(), "overloaded" | "unavailable" | "timeout") => {
                return Then::Later(error.code);
            }
            (None, error) => return Then::Broken(error.map_or("no answer".to_owned(), |error| error.code)),
        };
        match answer.re {
            HELLO => {
                epoch.0 = page.epoch;
                self.phase = Phase::Greeted;
                Then::Greeted
            }
            _ if page.reset => Then::Broken("reset: the positions are of another epoch".to_owned()),
            _ => {
                for entry in &page.conversations {
                    *moved += u64::from(self.placed(entry, number));
                }
                self.go_on(page.more, population, epoch)
            }
        }
    }

    fn placed(&mut self, entry: &Entry, number: &dyn Fn(&Uuid) -> Option<u32>) -> bool {
        let (Some(seq), Some(rev)) = (entry.seq, entry.rev) else { return false };
        let position = number(&entry.id).and_then(|number| self.find(number));
        position.map(|position| (position.seq, position.rev) = (position.seq.max(seq), position.rev.max(rev))).is_some()
    }

    fn go_on(&mut self, more: bool, population: &Population, epoch: &Epoch) -> Then {
        if !more {
            self.chunk += POSITIONS;
        }
        if more || self.chunk < self.positions.len() {
            return Then::Send(self.ask(population, epoch));
        }
        let mut ahead = std::mem::take(&mut self.ahead);
        ahead.sort_unstable();
        let missing = ahead.into_iter().filter(|(conversation, seq)| !self.follows(*conversation, *seq)).count();
        if self.again || missing > 0 {
            return Then::Send(self.sync(population, epoch));
        }
        self.phase = Phase::Whole;
        Then::Whole
    }

    /// A message was placed in a conversation. False if one is missing before it, and nobody has said so.
    pub fn event(&mut self, conversation: u32, seq: u64) -> bool {
        if self.phase != Phase::Whole {
            self.ahead.push((conversation, seq));
            return true;
        }
        self.follows(conversation, seq)
    }

    /// Told to fetch; whether it has to begin itself, because no sync is under way.
    pub fn resync(&mut self) -> bool {
        self.again = self.phase == Phase::Syncing;
        self.phase == Phase::Whole
    }

    /// Takes the next one, passes over an old one.
    fn follows(&mut self, conversation: u32, seq: u64) -> bool {
        let Some(position) = self.find(conversation) else { return true };
        let is_next = seq == position.seq + 1;
        if is_next {
            position.seq = seq;
        }
        is_next || seq <= position.seq
    }

    fn find(&mut self, conversation: u32) -> Option<&mut Position> {
        let at = self.positions.binary_search_by_key(&conversation, |position| position.conversation).ok()?;
        Some(&mut self.positions[at])
    }

    /// The first conversation that it does not have up to `head`, and where it is in it.
    pub fn behind(&self, head: &dyn Fn(u32) -> u64) -> Option<(u32, u64)> {
        let behind = self.positions.iter().find(|position| position.seq < head(position.conversation));
        behind.map(|position| (position.conversation, position.seq))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CROWD: Population = Population { people: 10, rounds: 3, room: 10, unix_ms: 1_700_000_000_000 };

    struct Told {
        person: Person,
        epoch: Epoch,
        moved: u64,
    }

    impl Told {
        fn new() -> Self {
            Self { person: Person::new(&CROWD, 4), epoch: Epoch::default(), moved: 0 }
        }

        fn answer(&mut self, text: &str) -> Then {
            let number = |id: &Uuid| (0..3).find(|n| CROWD.conversation(*n) == *id);
            self.person.answered(text.as_bytes(), &CROWD, &mut self.epoch, &mut self.moved, &number)
        }

        fn page(&mut self, moved: &[(u32, u64)], more: bool) -> Then {
            let entry = |(n, seq): &(u32, u64)| {
                format!(r#"{{"id":"{}","seq":{seq},"rev":0,"messages":[]}}"#, CROWD.conversation(*n))
            };
            let entries: Vec<String> = moved.iter().map(entry).collect();
            self.answer(&format!(
                r#"{{"re":2,"ok":{{"epoch":"E","urev":0,"conversations":[{}],"more":{more}}}}}"#,
                entries.join(",")
            ))
        }
    }

    #[test]
    fn hello_then_sync_then_whole() {
        let mut told = Told::new();
        assert_eq!(told.answer(r#"{"re":1,"ok":{"epoch":"E","live":true}}"#), Then::Greeted);
        let sync = told.person.sync(&CROWD, &told.epoch);
        assert!(sync.contains(r#""epoch":"E""#) && sync.matches(r#""seq":0"#).count() == 3, "{sync}");
        assert!(matches!(told.page(&[(0, 5)], true), Then::Send(text) if text.contains(r#""seq":5"#)));
        assert_eq!(told.page(&[(1, 2)], false), Then::Whole);
        assert_eq!(told.moved, 2);
        assert_eq!(told.person.behind(&|n| if n == 0 { 6 } else { 0 }), Some((0, 5)));
        assert_eq!(told.person.behind(&|n| if n == 0 { 5 } else { 0 }), None);
    }

    #[test]
    fn live_events_are_followed_and_a_hole_is_noticed() {
        let mut told = Told::new();
        told.person.sync(&CROWD, &told.epoch);
        // Before the answer: its predecessors are in the answer, or not.
        assert!(told.person.event(0, 3));
        assert_eq!(told.page(&[(0, 2)], false), Then::Whole);
        assert!(told.person.event(0, 4) && told.person.event(0, 4) && told.person.event(2, 1));
        assert!(!told.person.event(0, 6), "5 is missing");
        told.person.sync(&CROWD, &told.epoch);
        assert!(told.person.event(1, 2));
        assert!(matches!(told.page(&[(0, 6)], false), Then::Send(_)), "1 of conversation 1 came too late for this one");
        assert_eq!(told.page(&[(1, 2)], false), Then::Whole);
    }

    #[test]
    fn resync_is_obeyed_whenever_it_comes() {
        let mut told = Told::new();
        told.person.sync(&CROWD, &told.epoch);
        assert!(!told.person.resync(), "one is under way");
        assert!(matches!(told.page(&[], false), Then::Send(_)), "and is followed by another");
        assert_eq!(told.page(&[], false), Then::Whole);
        assert!(told.person.resync());
    }

    #[test]
    fn refusals_that_pass_are_told_from_those_that_do_not() {
        let mut told = Told::new();
        assert_eq!(told.answer(r#"{"re":2,"error":{"code":"overloaded"}}"#), Then::Later("overloaded".to_owned()));
        assert_eq!(told.answer(r#"{"re":1,"error":{"code":"unauthorized"}}"#), Then::Broken("unauthorized".to_owned()));
        assert!(matches!(told.answer(r#"{"re":2,"ok":{"epoch":"F","reset":true}}"#), Then::Broken(_)));
    }

    #[test]
    fn more_than_two_hundred_positions_are_several_syncs() {
        let crowd = Population { people: 10, rounds: 450, ..CROWD };
        let mut told = Told::new();
        told.person = Person::new(&crowd, 0);
        let mut syncs = vec![told.person.sync(&crowd, &told.epoch)];
        let page = br#"{"re":2,"ok":{"epoch":"E","conversations":[],"more":false}}"#;
        while let Then::Send(text) = told.person.answered(page, &crowd, &mut told.epoch, &mut 0, &|_| None) {
            syncs.push(text);
        }
        let positions: Vec<usize> = syncs.iter().map(|text| text.matches("\"seq\"").count()).collect();
        assert_eq!((positions, told.person.phase), (vec![200, 200, 50], Phase::Whole));
    }
}
