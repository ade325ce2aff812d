//! What watchers were told of others, against who was connected: S. Judged only where nothing has changed for as long as
//! presence may take: the watcher's connection, the other's, and no part of the server broken.

use super::record::{History, Presence, Stay, Time};
use super::{Kind, Violation};
use std::collections::{HashMap, HashSet};
use uuid::Uuid;

/// Begin and end; the end does not belong to it.
type Span = (Time, Time);

pub fn check(history: &History) -> Vec<Violation> {
    let mut wrong = vec![];
    judge(history, |_, violation| wrong.extend(violation));
    wrong
}

/// How often it was looked whether what a watcher was told is true.
pub fn judged(history: &History) -> usize {
    let mut judged = 0;
    judge(history, |_, _| judged += 1);
    judged
}

fn judge(history: &History, mut verdict: impl FnMut(Span, Option<Violation>)) {
    let mut told: HashMap<(usize, u32, usize), Vec<&Presence>> = HashMap::new();
    let mut watched: HashMap<usize, HashSet<usize>> = HashMap::new();
    for word in &history.presence {
        told.entry((word.watcher, word.session, word.person)).or_default().push(word);
        watched.entry(word.watcher).or_default().insert(word.person);
    }
    let mut stays: HashMap<usize, Vec<Span>> = HashMap::new();
    for stay in &history.stays {
        stays.entry(stay.client).or_default().push((stay.from, stay.until.unwrap_or(Time::MAX)));
    }
    for stay in &history.stays {
        for person in watched.get(&stay.client).into_iter().flatten() {
            let words = told.get(&(stay.client, stay.session, *person)).map(Vec::as_slice).unwrap_or_default();
            let of_person = stays.get(person).map(Vec::as_slice).unwrap_or_default();
            for (span, there) in quiet(stay, of_person, history) {
                verdict(span, contradiction(stay, *person, there, words, (span.0 + history.patience, span.1)));
            }
        }
    }
}

/// The parts of this stay, longer than presence may take, in which the other person was there or not all the time.
fn quiet(stay: &Stay, person: &[Span], history: &History) -> Vec<(Span, bool)> {
    let (from, until) = (stay.from, stay.until.unwrap_or(Time::MAX));
    let troubles: Vec<Span> = history.troubles.iter().map(|trouble| (trouble.from, trouble.until)).collect();
    let mut cuts: Vec<Time> = person.iter().chain(&troubles).flat_map(|(from, until)| [*from, *until]).collect();
    cuts.extend([from, until]);
    cuts.retain(|cut| (from..=until).contains(cut));
    cuts.sort_unstable();
    cuts.dedup();
    let covers = |spans: &[Span], at: Time| spans.iter().any(|(from, until)| (*from..*until).contains(&at));
    let parts = cuts.windows(2).map(|pair| (pair[0], pair[1]));
    let long = parts.filter(|(from, until)| until - from > history.patience);
    let sound = long.filter(|(from, _)| !covers(&troubles, *from));
    sound.map(|span| (span, covers(person, span.0))).collect()
}

/// The last word before the time, and every word within it, has to be true.
fn contradiction(stay: &Stay, person: usize, there: bool, words: &[&Presence], within: Span) -> Option<Violation> {
    let before = words.iter().rev().find(|word| word.at < within.0);
    let later = words.iter().filter(|word| (within.0..within.1).contains(&word.at));
    let says = |word: &&&Presence| word.online != there;
    let what = match (before, before.into_iter().chain(later).find(says)) {
        (_, Some(word)) => format!(
            "was told at {} ms that {person} is {}",
            word.at / 1_000_000,
            if word.online { "here" } else { "gone" }
        ),
        (None, None) => format!("was told nothing of {person}"),
        (Some(_), None) => return None,
    };
    let kind = if there { Kind::Unseen } else { Kind::Ghost };
    let at = within.0 / 1_000_000;
    let what = format!("client {}, session {}, {what}; at {at} ms that had to be otherwise", stay.client, stay.session);
    Some(Violation::new(kind, Uuid::nil(), what))
}

/// As things stand, without the history.
#[derive(Default)]
pub struct Now {
    /// The sessions of those who are connected.
    connected: HashMap<usize, u32>,
    /// What a watcher was told last of somebody, and in which of his sessions.
    told: HashMap<(usize, usize), (u32, bool)>,
    /// How often somebody has begun anew.
    pub resets: usize,
}

impl Now {
    pub fn came(&mut self, client: usize, session: u32) {
        self.connected.insert(client, session);
    }

    pub fn left(&mut self, client: usize) {
        self.connected.remove(&client);
    }

    pub fn told(&mut self, watcher: usize, session: u32, person: usize, online: bool) {
        self.told.insert((watcher, person), (session, online));
    }

    /// Of all pairs of a watcher who is connected and somebody he was ever told of: what is not true.
    pub fn untrue(&self) -> Vec<String> {
        let wrong = self.told.iter().filter(|((watcher, person), (session, online))| {
            let there = self.connected.contains_key(person);
            self.connected.get(watcher).is_some_and(|now| now != session || *online != there)
        });
        wrong.map(|((watcher, person), said)| format!("{watcher} of {person} (session, online): {said:?}")).collect()
    }
}
