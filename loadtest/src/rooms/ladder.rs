//! The ladder: raise the offered rate until it is not sustained, then halve the distance a few times. A rate counts as
//! broken when it was not sustained twice in a row: a machine has its moments.

use super::outcome::Outcome;
use crate::report::Table;
use anyhow::Result;
use serde::Serialize;

/// Each rung is this much higher, until one breaks.
const FACTOR: f64 = 1.5;
/// Rates closer than this are the same rate.
const CLOSE: f64 = 1.08;

/// Chooses the next rate from what has been seen; pure, so that the search can be tested without a server.
#[derive(Clone, Debug)]
pub struct Ladder {
    next: f64,
    ceiling: f64,
    best: Option<f64>,
    broken: Option<f64>,
}

impl Ladder {
    pub fn new(from: f64, ceiling: f64) -> Self {
        Self { next: from, ceiling, best: None, broken: None }
    }

    /// The next rate to offer; none when the maximum is known closely enough.
    pub fn next(&self) -> Option<f64> {
        let tight = matches!((self.best, self.broken), (Some(best), Some(broken)) if broken / best < CLOSE);
        let hopeless = self.best.is_none() && self.next < 1.0;
        let done = tight || hopeless || self.best.is_some_and(|best| best >= self.ceiling);
        (!done).then_some(self.next)
    }

    /// Records how the rate went.
    pub fn seen(&mut self, rate: f64, sustained: bool) {
        if sustained {
            self.best = Some(self.best.map_or(rate, |best| best.max(rate)));
        } else {
            self.broken = Some(self.broken.map_or(rate, |broken| broken.min(rate)));
        }
        self.next = match (self.best, self.broken) {
            (Some(best), None) => (best * FACTOR).min(self.ceiling),
            (Some(best), Some(broken)) => (best * broken).sqrt(),
            (None, Some(broken)) => broken / 4.0,
            (None, None) => self.next,
        };
    }
}

/// All rungs, and the highest that held.
#[derive(Clone, Debug, Serialize)]
pub struct Climbed {
    pub rungs: Vec<Outcome>,
    pub sustained: Option<Outcome>,
    /// The time ran out before the maximum was found to within a few per cent.
    pub cut_short: bool,
}

/// Climbs with `step` until the maximum is known or `time_left` says no.
pub fn climb(
    mut ladder: Ladder,
    mut time_left: impl FnMut() -> bool,
    mut step: impl FnMut(f64) -> Result<Outcome>,
) -> Result<Climbed> {
    let mut rungs: Vec<Outcome> = Vec::new();
    let mut cut_short = false;
    while let Some(rate) = ladder.next() {
        if !time_left() {
            cut_short = true;
            break;
        }
        let outcome = step(rate)?;
        let again = rungs.last().is_some_and(|last| last.offered_per_s == rate);
        if outcome.sustained() || again {
            ladder.seen(rate, outcome.sustained());
        }
        rungs.push(outcome);
    }
    let held = rungs.iter().filter(|outcome| outcome.sustained());
    let sustained = held.max_by(|a, b| a.offered_per_s.total_cmp(&b.offered_per_s)).cloned();
    Ok(Climbed { rungs, sustained, cut_short })
}

impl Climbed {
    pub fn tell(&self, table: &mut Table) {
        table.columns(&[
            "offered/s",
            "stored/s",
            "ack p50",
            "ack p99",
            "deliv p50",
            "deliv p99",
            "lag p99",
            "others",
            "",
        ]);
        for rung in &self.rungs {
            let figures =
                [rung.ack.p50_ms, rung.ack.p99_ms, rung.delivery.p50_ms, rung.delivery.p99_ms, rung.send_lag.p99_ms];
            let mut cells = vec![format!("{:.0}", rung.offered_per_s), format!("{:.0}", rung.stored_per_s)];
            cells.extend(figures.iter().map(|ms| format!("{ms:.2}")));
            cells.push(format!("{:.2} cores", rung.other_cores));
            let verdict = if rung.sustained() { "held".to_owned() } else { rung.failures.join(", ") };
            cells.push(if rung.valid { verdict } else { format!("{verdict} (generator late)") });
            table.columns(&cells);
        }
        match &self.sustained {
            Some(best) => {
                table.row("sustained maximum, messages/s", format!("{:.0}", best.stored_per_s));
                best.tell(table);
            }
            None => table.note("no rate was sustained"),
        }
        if self.cut_short {
            table.note("the time for the ladder ran out: the maximum may lie higher");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn search(from: f64, capacity: f64) -> (Option<f64>, usize) {
        let mut ladder = Ladder::new(from, 200_000.0);
        let mut steps = 0;
        while let Some(rate) = ladder.next() {
            ladder.seen(rate, rate <= capacity);
            steps += 1;
            assert!(steps < 40);
        }
        (ladder.best, steps)
    }

    #[test]
    fn the_maximum_is_found_within_some_per_cent() {
        for capacity in [1_000.0, 7_700.0, 33_000.0, 150_000.0] {
            let (best, steps) = search(1_000.0, capacity);
            let best = best.unwrap();
            assert!(best <= capacity && best * CLOSE > capacity / 1.001, "{best} of {capacity}");
            assert!(steps <= 18, "{steps}");
        }
    }

    #[test]
    fn a_start_too_high_is_lowered_and_a_dead_server_ends_the_search() {
        let (best, _) = search(10_000.0, 900.0);
        assert!(best.is_some_and(|best| best > 800.0));
        assert_eq!(search(10_000.0, 0.0).0, None);
        assert_eq!(search(1_000.0, f64::MAX).0, Some(200_000.0));
    }
}
