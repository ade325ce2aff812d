//! What a run of `reconnect` says: the way back, what it asked of PostgreSQL, what the others felt, what gateways hold.

use super::Options;
use super::population::Population;
use super::spread::Spread;
use super::storm::Fared;
use super::trickle::Window;
use crate::Verdict;
use crate::database::statements::{Ran, Statements};
use crate::process::{Memory, Watched};
use crate::report::Table;
use crate::report::latency::{Latency, Recorder};
use crate::rooms::outcome::Outcome;
use anyhow::Result;
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// The others' deliveries, while everybody comes back (issue and docs/performance.md).
const P99_LIMIT_MS: f64 = 250.0;
/// Statements shown by their text, and how much of it.
const SHOWN: usize = 8;
const TEXT: usize = 90;

#[derive(Debug, Serialize)]
pub struct Report {
    pub people: u32,
    pub positions: u32,
    pub members: u32,
    pub jitter_ms: u64,
    pub inserted_s: f64,
    pub opened_per_s: f64,
    /// Queries while everybody said hello that the server had not sent without them.
    pub hello: Option<Vec<Ran>>,
    pub first_syncs: u64,
    pub first_sync_s: f64,
    pub before: Vec<Gateway>,
    pub after: Vec<Gateway>,
    pub victim: u32,
    pub lost: u32,
    pub said: usize,
    pub calm: Option<Outcome>,
    pub storm: Option<Outcome>,
    /// The others' deliveries from the kill until all were back.
    pub meanwhile: Option<Window>,
    /// From the kill: connected, greeted, with everything again.
    pub connected: Latency,
    pub greeted: Latency,
    pub back: Latency,
    pub all_back: bool,
    pub attempts: u32,
    pub failures: BTreeMap<String, u64>,
    /// In the storm, by the clients' count.
    pub syncs: u64,
    pub moved: u64,
    pub resyncs: u64,
    pub holes: u64,
    pub behind: u32,
    pub behind_example: Option<String>,
    pub asked: Option<Asked>,
}

/// One gateway's share.
#[derive(Debug, Serialize)]
pub struct Gateway {
    pub pid: u32,
    pub sockets: usize,
    pub memory: Memory,
}

impl Gateway {
    pub fn all(spread: &Spread) -> Result<Vec<Self>> {
        let one = |(pid, sockets): &(u32, usize)| {
            let memory = Watched::one("gateway", *pid).sample()?.memory;
            Ok(Self { pid: *pid, sockets: *sockets, memory })
        };
        spread.counts.iter().map(one).collect()
    }
}

/// Queries for catching up.
#[derive(Debug, Serialize)]
pub struct Asked {
    /// The query that a sync is, by its text: what ran most while everybody synced and nothing else was done.
    pub sync: String,
    /// Its calls for each sync: then, and in the storm.
    pub per_sync_calm: f64,
    pub per_sync_storm: f64,
    /// In the storm, queries that neither the quiet server nor messages need, without that one.
    pub besides: Vec<Ran>,
}

impl Asked {
    pub fn new(calm_syncs: u64, calm: &Statements, syncs: u64, storm: &Statements, usual: &[&Statements]) -> Self {
        let most = calm.calls_unlike(usual).into_iter().next();
        let sync = most.map(|ran| ran.text).unwrap_or_default();
        let each = |statements: &Statements, syncs: u64| statements.of(&sync) as f64 / syncs.max(1) as f64;
        let mut besides = storm.calls_unlike(usual);
        besides.retain(|ran| ran.text != sync);
        Self { per_sync_calm: each(calm, calm_syncs), per_sync_storm: each(storm, syncs), besides, sync }
    }
}

impl Report {
    pub fn new(options: &Options, population: &Population) -> Self {
        let none = Latency::default;
        Self {
            people: population.people,
            positions: population.rounds,
            members: population.room,
            jitter_ms: options.jitter_ms,
            inserted_s: 0.0,
            opened_per_s: 0.0,
            hello: None,
            first_syncs: 0,
            first_sync_s: 0.0,
            before: Vec::new(),
            after: Vec::new(),
            victim: 0,
            lost: 0,
            said: 0,
            calm: None,
            storm: None,
            meanwhile: None,
            connected: none(),
            greeted: none(),
            back: none(),
            all_back: false,
            attempts: 0,
            failures: BTreeMap::new(),
            syncs: 0,
            moved: 0,
            resyncs: 0,
            holes: 0,
            behind: 0,
            behind_example: None,
            asked: None,
        }
    }

    pub fn opened(&mut self, took: Duration, asked: Option<(&Statements, &Statements)>) {
        self.opened_per_s = f64::from(self.people) / took.as_secs_f64().max(1e-6);
        self.hello = asked.map(|(opening, background)| opening.calls_unlike(&[background]));
    }

    pub fn fates(&mut self, fared: Fared) {
        let (mut connected, mut greeted, mut back) = (Recorder::new(), Recorder::new(), Recorder::new());
        let all = fared.fates.iter().flat_map(|fates| &fates.returns);
        for way in all {
            let since = |us: u64| Duration::from_micros(us.saturating_sub(fared.killed_us));
            connected.record(since(way.connected_us));
            greeted.record(since(way.greeted_us));
            back.record(since(way.back_us));
            self.attempts += way.attempts;
            self.lost += 1;
        }
        (self.connected, self.greeted, self.back) = (connected.summary(), greeted.summary(), back.summary());
        for fates in fared.fates {
            fates.failures.into_iter().for_each(|(why, count)| *self.failures.entry(why).or_default() += count);
            self.syncs += fates.syncs;
            self.moved += fates.moved;
            self.resyncs += fates.resyncs;
            self.holes += fates.holes;
            self.behind += fates.behind;
            self.behind_example = self.behind_example.take().or(fates.behind_example);
        }
        self.syncs -= self.first_syncs.min(self.syncs);
        (self.victim, self.said, self.all_back) = (fared.victim, fared.said, fared.all_back);
        (self.storm, self.meanwhile) = (Some(fared.storm), Some(fared.meanwhile));
    }

    pub fn verdict(&self) -> Verdict {
        let steps = || self.calm.iter().chain(&self.storm);
        let broken = !self.all_back || self.behind + u32::from(self.holes > 0) > 0;
        Verdict { broken: broken || steps().any(|step| step.findings.broken()), valid: steps().all(|step| step.valid) }
    }

    pub fn table(&self) -> Table {
        let mut table = Table::new(&format!("reconnect: {} people, one socket each", self.people));
        table.row("conversations of each, members of each of these", format!("{}, {}", self.positions, self.members));
        table.row("put into the database, seconds", format!("{:.1}", self.inserted_s));
        table.row("connect, upgrade and hello, per second", format!("{:.0}", self.opened_per_s));
        let each = f64::from(self.people) / self.first_sync_s.max(1e-6);
        table.row("first syncs, people per second", format!("{each:.0}"));
        self.tell_gateways(&mut table);
        self.tell_returns(&mut table);
        self.tell_asked(&mut table);
        self.tell_others(&mut table);
        table
    }

    fn tell_gateways(&self, table: &mut Table) {
        table.columns(&["gateways", "sockets", "RSS MiB", "anonymous", "KiB a socket"]);
        let lines = self.before.iter().map(|gateway| ("before", gateway));
        for (when, gateway) in lines.chain(self.after.iter().map(|gateway| ("after", gateway))) {
            let mebibytes = |bytes: u64| format!("{:.1}", bytes as f64 / 1_048_576.0);
            let each = gateway.memory.rss as f64 / 1024.0 / gateway.sockets.max(1) as f64;
            let killed = if gateway.pid == self.victim { " (killed)" } else { "" };
            table.columns(&[
                format!("{when}: {}{killed}", gateway.pid),
                gateway.sockets.to_string(),
                mebibytes(gateway.memory.rss),
                mebibytes(gateway.memory.anonymous),
                format!("{each:.2}"),
            ]);
        }
    }

    fn tell_returns(&self, table: &mut Table) {
        table.row("sockets lost, back, attempts", format!("{}, {}, {}", self.lost, self.back.count, self.attempts));
        table.columns(&[&["since the kill"][..], &Latency::COLUMNS[..]].concat());
        table.columns(&self.connected.cells("connected"));
        table.columns(&self.greeted.cells("hello answered"));
        table.columns(&self.back.cells("caught up"));
        for (why, count) in &self.failures {
            table.row(&format!("failed: {why}"), count);
        }
        let counts = format!("{}, {}, {}", self.syncs, self.moved, self.said);
        table.row("syncs, conversations with news, said meanwhile", counts);
        table.row(
            "resyncs, holes nobody told of, people behind",
            format!("{}, {}, {}", self.resyncs, self.holes, self.behind),
        );
        if let Some(example) = &self.behind_example {
            table.note(&format!("BEHIND: {example}"));
        }
        if !self.all_back {
            table.note("NOT ALL CAME BACK within the time");
        }
    }

    fn tell_asked(&self, table: &mut Table) {
        let show = |table: &mut Table, ran: &[Ran]| {
            for one in ran.iter().take(SHOWN) {
                let text: String = one.text.chars().take(TEXT).collect();
                table.note(&format!("    {} × {text}", one.calls));
            }
        };
        match &self.hello {
            Some(ran) => {
                let calls: i64 = ran.iter().map(|ran| ran.calls).sum();
                table.row("queries for all hellos", calls);
                show(table, ran);
            }
            None => table.note("statements are not counted: PostgreSQL has not loaded pg_stat_statements"),
        }
        if let Some(asked) = &self.asked {
            let figures = format!("{:.3}, {:.3}", asked.per_sync_calm, asked.per_sync_storm);
            table.row("queries for a sync: first ones, in the storm", figures);
            table.note(
                "  other queries in the storm that messages do not need (of syncs that bring news, of a new gateway):",
            );
            show(table, &asked.besides);
        }
    }

    fn tell_others(&self, table: &mut Table) {
        table.columns(&[&["the others' deliveries"][..], &Latency::COLUMNS[..]].concat());
        if let Some(calm) = &self.calm {
            table.columns(&calm.delivery.cells("before"));
        }
        if let (Some(storm), Some(meanwhile)) = (&self.storm, &self.meanwhile) {
            table.columns(&meanwhile.delivery.cells("until all were back"));
            let seconds: Vec<String> = meanwhile.p99_ms_by_second.iter().map(|ms| format!("{ms:.0}")).collect();
            table.row("p99 of each second of that, ms", seconds.join(", "));
            if meanwhile.delivery.p99_ms > P99_LIMIT_MS {
                table.note(&format!("NOT REACHED: the others' p99 is over {P99_LIMIT_MS} ms"));
            }
            table.note("the others, from the kill on");
            storm.tell(table);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sync_is_found_by_what_ran_most() {
        let ran = Statements::of_calls;
        let quiet = ran(&[("relay", 10)]);
        let calm = ran(&[("relay", 20), ("append", 500)]);
        let first = ran(&[("relay", 5), ("heads", 900), ("odd", 1)]);
        let storm = ran(&[("relay", 9), ("append", 100), ("heads", 450), ("messages", 30)]);
        let asked = Asked::new(900, &first, 300, &storm, &[&quiet, &calm]);
        assert_eq!((asked.sync.as_str(), asked.per_sync_calm, asked.per_sync_storm), ("heads", 1.0, 1.5));
        assert_eq!(asked.besides, [Ran { calls: 30, text: "messages".to_owned() }]);
    }
}
