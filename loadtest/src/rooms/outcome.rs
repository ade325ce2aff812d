//! What a step comes to: its figures, whether they are valid, and whether the rate counts as sustained.

use super::audit::Findings;
use super::ledger::Ledger;
use crate::process::Machine;
use crate::report::Table;
use crate::report::latency::Latency;
use crate::socket::swarm::Tally;
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// A rate is sustained while p99 of delivery stays within this.
const P99_LIMIT_MS: f64 = 250.0;
/// The generator's own checks: later than this, or busier, and the figures are its own.
const LAG_LIMIT_MS: f64 = 1.0;
const BUSY_LIMIT: f64 = 0.9;

/// The measured part of a step: its length, and the processor time of each watched process within it.
pub struct Window {
    pub length: Duration,
    pub cpu: Vec<(String, Duration)>,
    pub machine: Machine,
    /// Unanswered when the offering ended.
    pub backlog: u64,
    /// The offering was cut short.
    pub overloaded: bool,
}

/// Processor time of one watched process.
#[derive(Clone, Debug, Serialize)]
pub struct Cpu {
    pub name: String,
    pub cores: f64,
    /// Seconds per 1,000 stored messages.
    pub seconds_per_1000: f64,
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
    pub bytes_per_frame: f64,
    pub cpu: Vec<Cpu>,
    /// The generator's own share of a core.
    pub generator_cores: f64,
    /// Cores used by whatever is not watched (the server, if none of its processes is), and taken by the hypervisor:
    /// figures from a machine that is not quiet are not worth much.
    pub other_cores: f64,
    pub stolen_cores: f64,
    /// The generator kept its own plan.
    pub valid: bool,
    /// Why the rate does not count as sustained; empty if it does.
    pub failures: Vec<String>,
}

impl Outcome {
    pub fn new(ledger: &Ledger, window: Window, findings: Findings, tally: &Tally) -> Self {
        let seconds = window.length.as_secs_f64().max(1e-9);
        let thousands = (ledger.stored_measured as f64 / 1000.0).max(1e-9);
        let mut cpu: Vec<Cpu> =
            window.cpu.iter().map(|(name, used)| cpu_line(name, *used, seconds, thousands)).collect();
        let generator_cores = cpu.last().map_or(0.0, |own| own.cores);
        let watched_cores: f64 = cpu.iter().map(|line| line.cores).sum();
        let machine_cores = window.machine.busy.as_secs_f64() / seconds;
        if cpu.len() > 2 {
            let others: Duration = window.cpu[..cpu.len() - 1].iter().map(|(_, used)| *used).sum();
            cpu.insert(cpu.len() - 1, cpu_line("all but loadtest", others, seconds, thousands));
        }
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
            backlog: window.backlog,
            overloaded: window.overloaded,
            frames_per_read: tally.frames as f64 / tally.reads.max(1) as f64,
            bytes_per_frame: tally.bytes as f64 / tally.frames.max(1) as f64,
            cpu,
            generator_cores,
            other_cores: (machine_cores - watched_cores).max(0.0),
            stolen_cores: window.machine.stolen.as_secs_f64() / seconds,
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
        table.columns(&[&[""][..], &Latency::COLUMNS[..]].concat());
        table.columns(&self.ack.cells("ack"));
        table.columns(&self.delivery.cells("delivery"));
        table.columns(&self.send_lag.cells("generator's lag"));
        for cpu in &self.cpu {
            let figures = format!("{:.2} cores, {:.4} s per 1,000 messages", cpu.cores, cpu.seconds_per_1000);
            table.row(&format!("processor time, {}", cpu.name), figures);
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

fn cpu_line(name: &str, used: Duration, seconds: f64, thousands: f64) -> Cpu {
    let used = used.as_secs_f64();
    Cpu { name: name.to_owned(), cores: used / seconds, seconds_per_1000: used / thousands }
}
