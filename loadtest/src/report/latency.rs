//! Latencies: recorded in nanoseconds at three significant digits, reported in milliseconds.

use hdrhistogram::Histogram;
use serde::Serialize;
use std::time::Duration;

const LOWEST_NS: u64 = 1_000;
const HIGHEST_NS: u64 = 120_000_000_000;

/// A recorder of durations from 1 µs to 2 min; what lies outside counts as the bound.
pub struct Recorder {
    histogram: Histogram<u64>,
}

impl Recorder {
    pub fn new() -> Self {
        let histogram = Histogram::new_with_bounds(LOWEST_NS, HIGHEST_NS, 3);
        Self { histogram: histogram.expect("cannot fail because the bounds are constants in order") }
    }

    pub fn record(&mut self, duration: Duration) {
        let ns = u64::try_from(duration.as_nanos()).unwrap_or(HIGHEST_NS);
        self.histogram.saturating_record(ns.max(LOWEST_NS));
    }

    pub fn summary(&self) -> Latency {
        let histogram = &self.histogram;
        let ms = |quantile: f64| histogram.value_at_quantile(quantile) as f64 / 1e6;
        if histogram.is_empty() {
            return Latency::default();
        }
        Latency {
            count: histogram.len(),
            mean_ms: histogram.mean() / 1e6,
            p50_ms: ms(0.5),
            p90_ms: ms(0.9),
            p99_ms: ms(0.99),
            p999_ms: ms(0.999),
            max_ms: histogram.max() as f64 / 1e6,
        }
    }
}

/// What is said of a histogram. All zero if nothing was recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Latency {
    pub count: u64,
    pub mean_ms: f64,
    pub p50_ms: f64,
    pub p90_ms: f64,
    pub p99_ms: f64,
    pub p999_ms: f64,
    pub max_ms: f64,
}

impl Latency {
    pub const COLUMNS: [&'static str; 6] = ["mean ms", "p50", "p90", "p99", "p99.9", "max"];

    pub fn cells(&self, name: &str) -> Vec<String> {
        let figures = [self.mean_ms, self.p50_ms, self.p90_ms, self.p99_ms, self.p999_ms, self.max_ms];
        std::iter::once(name.to_owned()).chain(figures.iter().map(|figure| format!("{figure:.2}"))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_in_milliseconds() {
        let mut recorder = Recorder::new();
        assert_eq!(recorder.summary(), Latency::default());
        for ms in 1..=100 {
            recorder.record(Duration::from_millis(ms));
        }
        recorder.record(Duration::from_secs(1_000));
        let latency = recorder.summary();
        assert!((latency.p50_ms - 51.0).abs() < 0.5, "{latency:?}");
        assert!(latency.max_ms >= 119_000.0, "{latency:?}");
    }
}
