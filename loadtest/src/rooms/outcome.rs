//! What a step comes to: its figures, whether they are valid, and whether the rate counts as sustained.

use super::audit::Findings;
use super::ledger::Ledger;
use crate::report::Table;
use crate::report::latency::Latency;
use crate::socket::swarm::Tally;
use crate::watch::Spent;
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// A rate is sustained while p99 of delivery stays within this.
const P99_LIMIT_MS: f64 = 250.0;
/// The generator's own checks: later than this, or busier, and the figures are its own.
const LAG_LIMIT_MS: f64 = 1.0;
const BUSY_LIMIT: f64 = 0.9;

/// The measured part of a step, and how the offering ended.
pub struct Window {
    pub spent: Spent,
    /// Unanswered when the offering ended.
    pub backlog: u64,
    /// The offering was cut short.
    pub overloaded: bool,
}

/// Processor time of one watched process.
#[derive(Clone, Debug, Serialize)]
pub struct Cpu {
    pub name: String,
    pub seconds: f64,
    pub cores: f64,
    /// Of all that is watched but the generator; none for the generator itself.
    pub share: Option<f64>,
    /// Seconds per 1,000 stored messages.
    pub seconds_per_1000: f64,
}

/// The name of the line that sums up all the others but the generator.
pub const ALL: &str = "all but loadtest";

impl Cpu {
    /// Of what was used in so many seconds; the last is the generator, before it comes the sum of the others if they are
    /// several.
    fn lines(used: &[(String, Duration)], seconds: f64, stored: u64) -> Vec<Self> {
        let Some((own, parts)) = used.split_last() else { return Vec::new() };
        let all: Duration = parts.iter().map(|(_, used)| *used).sum();
        let line = |name: &str, used: Duration, share: Option<f64>| Self {
            name: name.to_owned(),
            seconds: used.as_secs_f64(),
            cores: used.as_secs_f64() / seconds,
            share,
            seconds_per_1000: used.as_secs_f64() * 1000.0 / stored.max(1) as f64,
        };
        let share = |used: Duration| Some(used.as_secs_f64() / all.as_secs_f64().max(1e-9));
        let mut lines: Vec<Self> = parts.iter().map(|(name, used)| line(name, *used, share(*used))).collect();
        if parts.len() > 1 {
            lines.push(line(ALL, all, Some(1.0)));
        }
        lines.push(line(&own.0, own.1, None));
        lines
    }

    fn tell(lines: &[Self], table: &mut Table) {
        table.columns(&["processor time", "seconds", "cores", "s per 1,000", "share"]);
        for line in lines {
            let figures = [format!("{:.2}", line.seconds), format!("{:.3}", line.cores)];
            let share = line.share.map_or(String::new(), |share| format!("{:.1} %", share * 100.0));
            let more = [format!("{:.4}", line.seconds_per_1000), share];
            table.columns(&[&[line.name.clone()][..], &figures, &more].concat());
        }
    }
}

#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    pub offered_per_s: f64,
    pub seconds: f64,
    pub sent: u64,
    pub unsent: u64,
    pub stored: u64,
    pub unanswered: u64,
    pub refused: BTreeMap<String, u64>,
    /// Deliveries of messages of this step, and those their acknowledgements promised.
    pub delivered: u64,
    pub expected: u64,
    /// Stored and delivered per second of the measured part.
    pub stored_per_s: f64,
    pub deliveries_per_s: f64,
    pub ack: Latency,
    pub delivery: Latency,
    pub send_lag: Latency,
    pub findings: Findings,
    pub sockets_closed: u64,
    pub last_close: Option<String>,
    pub unknown_texts: u64,
    pub backlog: u64,
    pub overloaded: bool,
    pub frames_per_read: f64,
    /// By the gateways' own counters.
    pub frames_per_write: Option<f64>,
    pub bytes_per_frame: f64,
    pub cpu: Vec<Cpu>,
    /// The generator's own share of a core.
    pub generator_cores: f64,
    /// Cores used by whatever is not watched (the server, if none of its processes is), and taken by the hypervisor:
    /// figures from a machine that is not quiet are not worth much.
    pub other_cores: f64,
    pub stolen_cores: f64,
    /// No gateway or worker came or went meanwhile.
    pub same_processes: bool,
    /// The generator kept its own plan.
    pub valid: bool,
    /// Why the rate does not count as sustained; empty if it does.
    pub failures: Vec<String>,
}

impl Outcome {
    pub fn new(ledger: &Ledger, window: Window, findings: Findings, tally: &Tally) -> Self {
        let Window { spent, backlog, overloaded } = window;
        let seconds = spent.length.as_secs_f64().max(1e-9);
        let cpu = Cpu::lines(&spent.cpu, seconds, ledger.stored_measured);
        let generator_cores = cpu.last().map_or(0.0, |own| own.cores);
        let watched: Duration = spent.cpu.iter().map(|(_, used)| *used).sum();
        let others = spent.machine.busy.saturating_sub(watched);
        let send_lag = ledger.lag.summary();
        let mut outcome = Self {
            offered_per_s: ledger.plan.rate_per_s,
            seconds,
            sent: ledger.sent,
            unsent: ledger.unsent,
            stored: ledger.stored,
            unanswered: ledger.unanswered(),
            refused: ledger.refused.clone(),
            delivered: ledger.delivered,
            expected: ledger.expected,
            stored_per_s: ledger.stored_measured as f64 / seconds,
            deliveries_per_s: ledger.delivered_measured as f64 / seconds,
            ack: ledger.ack.summary(),
            delivery: ledger.delivery.summary(),
            send_lag,
            findings,
            sockets_closed: tally.closed,
            last_close: tally.last_close.clone(),
            unknown_texts: ledger.unknown,
            backlog,
            overloaded,
            frames_per_read: tally.frames as f64 / tally.reads.max(1) as f64,
            frames_per_write: spent.frames_per_write,
            bytes_per_frame: tally.bytes as f64 / tally.frames.max(1) as f64,
            cpu,
            generator_cores,
            other_cores: others.as_secs_f64() / seconds,
            stolen_cores: spent.machine.stolen.as_secs_f64() / seconds,
            same_processes: spent.same_processes,
            valid: send_lag.p99_ms <= LAG_LIMIT_MS && generator_cores <= BUSY_LIMIT,
            failures: Vec::new(),
        };
        outcome.failures = outcome.judge();
        outcome
    }

    pub fn sustained(&self) -> bool {
        self.failures.is_empty()
    }

    fn judge(&self) -> Vec<String> {
        let refused: u64 = self.refused.values().sum();
        let counts = [
            (self.findings.lost, "lost"),
            (self.findings.doubled, "doubled"),
            (self.findings.order_breaks, "out of order"),
            (self.findings.resyncs, "resyncs"),
            (self.sockets_closed, "sockets closed"),
            (self.unsent, "unsent"),
            (refused, "refused"),
            (self.unanswered, "unanswered"),
        ];
        let mut failures: Vec<String> =
            counts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect();
        if self.overloaded {
            failures.push(format!("backlog of {}", self.backlog));
        }
        if self.delivery.p99_ms > P99_LIMIT_MS {
            failures.push(format!("delivery p99 {:.0} ms", self.delivery.p99_ms));
        }
        if self.stored == 0 {
            failures.push("nothing stored".to_owned());
        }
        failures
    }

    /// The step's lines of a table.
    pub fn tell(&self, table: &mut Table) {
        table.row("offered, messages/s", format!("{:.0} for {:.1} s", self.offered_per_s, self.seconds));
        table.row("stored, messages/s", format!("{:.0}", self.stored_per_s));
        table.row("delivered, deliveries/s", format!("{:.0}", self.deliveries_per_s));
        table.row(
            "frames per read, bytes per frame",
            format!("{:.2}, {:.0}", self.frames_per_read, self.bytes_per_frame),
        );
        if let Some(frames) = self.frames_per_write {
            table.row("frames per write of the gateways", format!("{frames:.2}"));
        }
        table.columns(&[&[""][..], &Latency::COLUMNS[..]].concat());
        table.columns(&self.ack.cells("ack"));
        table.columns(&self.delivery.cells("delivery"));
        table.columns(&self.send_lag.cells("generator's lag"));
        Cpu::tell(&self.cpu, table);
        if !self.same_processes {
            table.note("a gateway or worker came or went: the processor time of those that ended is with `rookery`");
        }
        let others = format!("{:.2}, {:.2} cores", self.other_cores, self.stolen_cores);
        table.row("everything else on the machine, stolen", others);
        let found = &self.findings;
        let counts = format!("{}, {}, {}", found.lost, found.doubled, found.order_breaks);
        table.row("lost, doubled, out of order", counts);
        table.row("resyncs, missing but told", format!("{}, {}", found.resyncs, found.told));
        let answers = format!("{}, {}, {}", self.stored, self.refused.values().sum::<u64>(), self.unanswered);
        table.row("stored, refused, unanswered", answers);
        for (code, count) in &self.refused {
            table.row(&format!("refused: {code}"), count);
        }
        if let Some(why) = &self.last_close {
            table.row("sockets closed", format!("{}, the last by: {why}", self.sockets_closed));
        }
        if self.unknown_texts > 0 {
            table.row("texts not understood", self.unknown_texts);
        }
        if !self.valid {
            table.note("INVALID: the generator did not keep its own plan (lag p99 over 1 ms, or over 0.9 of a core).");
        }
        if !self.sustained() {
            table.note(&format!("NOT SUSTAINED: {}", self.failures.join(", ")));
        }
    }
}
