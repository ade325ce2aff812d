//! A run in a few lines: how much was tried, what became of it, what broke, and how long nothing moved.

use super::presence::judged;
use super::record::{Attempt, History, Message, Outcome, Seen, Time};
use super::{Kind, Violation, check};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::time::Duration;
use uuid::Uuid;

pub struct Report {
    /// Messages, and the tries it took.
    pub messages: usize,
    pub attempts: usize,
    pub ok: usize,
    pub refused: usize,
    /// Messages that nobody ever got an answer for, and how many of them are stored: both are allowed.
    pub unknown: usize,
    pub unknown_but_stored: usize,
    pub received: usize,
    pub resyncs: usize,
    pub resets: usize,
    /// How often it was looked whether presence is true.
    pub looks: usize,
    pub rows: usize,
    pub violations: Vec<Violation>,
    /// The longest time between one answer and the next, over all clients.
    pub stall: Duration,
}

impl Report {
    pub fn of(history: &History) -> Self {
        let mut best: HashMap<Uuid, u8> = HashMap::new();
        for attempt in &history.attempts {
            let rank = match attempt.outcome {
                Outcome::Ok { .. } => 2,
                Outcome::Unknown => 1,
                Outcome::Refused { .. } => 0,
            };
            let best = best.entry(attempt.message.id).or_default();
            *best = rank.max(*best);
        }
        let stored: HashSet<Uuid> = history.rows.iter().map(|row| row.message.id).collect();
        let count = |rank| best.values().filter(|best| **best == rank).count();
        let sights = |what: fn(&Seen) -> bool| history.sights.iter().filter(|sight| what(&sight.seen)).count();
        Self {
            messages: best.len(),
            attempts: history.attempts.len(),
            ok: count(2),
            refused: count(0),
            unknown: count(1),
            unknown_but_stored: best.iter().filter(|(id, best)| **best == 1 && stored.contains(*id)).count(),
            received: sights(|seen| matches!(seen, Seen::Live { .. })),
            resyncs: sights(|seen| matches!(seen, Seen::Told { .. })),
            resets: sights(|seen| *seen == Seen::Reset),
            looks: judged(history),
            rows: history.rows.len(),
            violations: check(history),
            stall: Self::stall(history, 0, Time::MAX),
        }
    }

    /// The longest time between two answers of which the second came within these bounds.
    pub fn stall(history: &History, from: Time, until: Time) -> Duration {
        let ok = history.attempts.iter().filter(|attempt| matches!(attempt.outcome, Outcome::Ok { .. }));
        let mut answered: Vec<Time> = ok.filter_map(|attempt| attempt.completed).collect();
        answered.sort_unstable();
        let pairs = answered.windows(2).filter(|pair| (from..until).contains(&pair[1]));
        Duration::from_nanos(pairs.map(|pair| pair[1] - pair[0]).max().unwrap_or(0))
    }

    /// How long each message was waited for within these bounds, the longest first: from its first try, or from the
    /// beginning of the bounds, to its first answer, or to their end. What nobody ever got an answer for is left out, for
    /// its sender may have given it up.
    pub fn waits(history: &History, from: Time, until: Time) -> Vec<(Duration, Message)> {
        let mut waits: HashMap<(Uuid, Uuid), (Time, Option<Time>, &Message)> = HashMap::new();
        for Attempt { message, invoked, completed, outcome, .. } in &history.attempts {
            let new = (*invoked, None, message);
            let (first, answered, _) = waits.entry((message.id, message.conversation)).or_insert(new);
            *first = (*first).min(*invoked);
            if let (Outcome::Ok { .. }, Some(at)) = (outcome, completed) {
                *answered = Some(answered.map_or(*at, |answered| answered.min(*at)));
            }
        }
        let within = waits.into_values().filter_map(|(first, answered, message)| {
            let wait = answered?.min(until).checked_sub(first.max(from))?;
            Some((Duration::from_nanos(wait), message.clone()))
        });
        let mut waits: Vec<(Duration, Message)> = within.collect();
        waits.sort_by_key(|(wait, _)| std::cmp::Reverse(*wait));
        waits
    }

    pub fn count(&self, kind: Kind) -> usize {
        self.violations.iter().filter(|violation| violation.kind == kind).count()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "attempted {} ({} tries), ok {}, refused {}, unknown {} ({} of them stored), rows {}, received live {}, \
             resyncs {}, resets {}, looks at presence {}",
            self.messages,
            self.attempts,
            self.ok,
            self.refused,
            self.unknown,
            self.unknown_but_stored,
            self.rows,
            self.received,
            self.resyncs,
            self.resets,
            self.looks
        )?;
        let (lost, doubled, holes) = (self.count(Kind::Lost), self.count(Kind::Doubled), self.count(Kind::Hole));
        write!(f, "lost {lost}, doubled {doubled}, holes {holes}, longest stall {} ms", self.stall.as_millis())?;
        let mut kinds: BTreeMap<Kind, Vec<&Violation>> = BTreeMap::new();
        self.violations.iter().for_each(|violation| kinds.entry(violation.kind).or_default().push(violation));
        for (kind, violations) in kinds {
            write!(f, "\n{kind:?}: {}", violations.len())?;
            violations.iter().take(5).try_for_each(|violation| write!(f, "\n  {violation}"))?;
        }
        Ok(())
    }
}
