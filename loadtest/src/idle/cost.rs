//! What one process pays for the sockets it holds.
//!
//! Memory comes in three readings, for a process that has freed memory keeps some of it and fills that first: the growth
//! over all sockets is too small by that slack; the growth over the second half of them is right once the slack is used
//! up; all of the process divided by the sockets is more than they can cost.

use crate::process::{Memory, Sample};
use crate::report::Table;
use serde::Serialize;
use std::time::Duration;

/// Readings of a process: before (twice, `baseline` apart), at half of the sockets, at all, and after the hold.
pub struct Samples {
    pub first: Sample,
    pub before: Sample,
    pub half: Sample,
    pub opened: Sample,
    pub held: Sample,
    pub baseline: Duration,
    pub held_for: Duration,
    pub sockets: usize,
}

#[derive(Debug, Serialize)]
pub struct Cost {
    pub name: String,
    pub before: Memory,
    pub half: Memory,
    pub opened: Memory,
    pub held: Memory,
    /// Bytes per socket: growth over all, growth over the second half, and everything.
    pub growth: PerSocket,
    pub second_half: PerSocket,
    pub everything: PerSocket,
    /// Cores used without and with the sockets.
    pub cores_before: f64,
    pub cores_held: f64,
    /// Processor time in µs per second and socket: the difference, and without taking off what was used before.
    pub cpu_us_per_socket: f64,
    pub cpu_us_per_socket_gross: f64,
}

/// Bytes per socket.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct PerSocket {
    pub rss: f64,
    pub pss: f64,
    pub anonymous: f64,
}

impl PerSocket {
    fn between(before: &Memory, after: &Memory, sockets: usize) -> Self {
        let each = |before: u64, after: u64| (after as f64 - before as f64) / sockets.max(1) as f64;
        Self {
            rss: each(before.rss, after.rss),
            pss: each(before.pss, after.pss),
            anonymous: each(before.anonymous, after.anonymous),
        }
    }

    fn text(&self) -> String {
        format!("{:.0}, {:.0}, {:.0}", self.rss, self.pss, self.anonymous)
    }
}

impl Cost {
    pub fn new(name: String, samples: &Samples) -> Self {
        let Samples { first, before, half, opened, held, baseline, held_for, sockets } = samples;
        let cores = |from: &Sample, to: &Sample, over: &Duration| {
            to.cpu.saturating_sub(from.cpu).as_secs_f64() / over.as_secs_f64().max(1e-9)
        };
        let (cores_before, cores_held) = (cores(first, before, baseline), cores(opened, held, held_for));
        Self {
            name,
            before: before.memory,
            half: half.memory,
            opened: opened.memory,
            held: held.memory,
            growth: PerSocket::between(&before.memory, &held.memory, *sockets),
            second_half: PerSocket::between(&half.memory, &opened.memory, sockets - sockets / 2),
            everything: PerSocket::between(&Memory::default(), &held.memory, *sockets),
            cores_before,
            cores_held,
            cpu_us_per_socket: (cores_held - cores_before) * 1e6 / *sockets as f64,
            cpu_us_per_socket_gross: cores_held * 1e6 / *sockets as f64,
        }
    }

    pub fn tell(&self, table: &mut Table) {
        table.note(&self.name);
        table.row("  RSS, MiB: before, half, all, held", self.mebibytes(|memory| memory.rss));
        table.row("  anonymous, MiB: before, half, all, held", self.mebibytes(|memory| memory.anonymous));
        table.note("  bytes per socket: RSS, PSS, anonymous");
        table.row("    growth over the second half", self.second_half.text());
        if self.second_half.anonymous < 0.0 {
            table.note("    DOUBTFUL: the process gave memory back meanwhile; start it afresh and measure again");
        }
        table.row("    growth over all (less slack)", self.growth.text());
        table.row("    everything, the program included", self.everything.text());
        table.row("  cores: before, held", format!("{:.4}, {:.4}", self.cores_before, self.cores_held));
        let cpu = format!("{:.3} (gross {:.3})", self.cpu_us_per_socket, self.cpu_us_per_socket_gross);
        table.row("  µs per second and socket", cpu);
    }

    fn mebibytes(&self, of: impl Fn(&Memory) -> u64) -> String {
        let memories = [&self.before, &self.half, &self.opened, &self.held];
        memories.map(|memory| format!("{:.1}", of(memory) as f64 / 1_048_576.0)).join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(cpu_ms: u64, rss: u64) -> Sample {
        let memory = Memory { rss, pss: rss, private: rss, anonymous: rss };
        Sample { cpu: Duration::from_millis(cpu_ms), memory }
    }

    #[test]
    fn slack_hides_in_the_first_half_only() {
        let samples = Samples {
            first: sample(0, 10_000),
            before: sample(100, 10_000),
            half: sample(200, 10_500),
            opened: sample(300, 11_500),
            held: sample(1_500, 11_500),
            baseline: Duration::from_secs(10),
            held_for: Duration::from_secs(60),
            sockets: 20,
        };
        let cost = Cost::new("x".to_owned(), &samples);
        assert_eq!((cost.growth.rss, cost.second_half.rss, cost.everything.rss), (75.0, 100.0, 575.0));
        assert!((cost.cpu_us_per_socket - 500.0).abs() < 1e-6, "{cost:?}");
        assert!((cost.cpu_us_per_socket_gross - 1000.0).abs() < 1e-6, "{cost:?}");
    }
}
