//! The metrics recorder of this process, and its page for Prometheus.

use super::process;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use std::{sync::OnceLock, thread, time::Duration};

/// How often histograms are folded together; between two times they keep every value.
const UPKEEP: Duration = Duration::from_secs(5);

/// For every histogram of durations, in seconds: from half a millisecond to the command deadline.
const SECONDS: [f64; 15] =
    [0.0005, 0.001, 0.002, 0.004, 0.008, 0.015, 0.03, 0.06, 0.125, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0];
/// For every other: counts and bytes.
const COUNTS: [f64; 14] =
    [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 1024.0, 4096.0, 16_384.0, 65_536.0, 1_048_576.0];

/// Installs the recorder, once. Metrics registered before this are not seen.
pub(super) fn start() -> &'static PrometheusHandle {
    static RECORDER: OnceLock<PrometheusHandle> = OnceLock::new();
    RECORDER.get_or_init(|| {
        let recorder = builder().build_recorder();
        let handle = recorder.handle();
        // Refused where a test has a recorder of its own: then our page stays empty.
        if ::metrics::set_global_recorder(recorder).is_ok() {
            keep_up(handle.clone());
        }
        handle
    })
}

fn builder() -> PrometheusBuilder {
    PrometheusBuilder::new()
        .set_buckets(&COUNTS)
        .and_then(|builder| builder.set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &SECONDS))
        .expect("cannot fail because neither list of buckets is empty")
}

/// A thread, because the recorder outlives every runtime that a test may have.
fn keep_up(handle: PrometheusHandle) {
    let work = move || {
        loop {
            handle.run_upkeep();
            process::report();
            thread::sleep(UPKEEP);
        }
    };
    if let Err(error) = thread::Builder::new().name("metrics".into()).spawn(work) {
        tracing::error!(%error, "nobody looks after the metrics");
    }
}

/// Everything measured so far, as Prometheus reads it (text format 0.0.4).
pub fn metrics() -> String {
    let handle = start();
    process::report();
    handle.render()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_buckets_and_the_process() {
        start();
        ::metrics::histogram!("rookery_test_seconds").record(0.003);
        ::metrics::histogram!("rookery_test_commands").record(100.0);
        let page = metrics();
        assert!(page.contains(r#"rookery_test_seconds_bucket{le="0.004"} 1"#), "{page}");
        assert!(page.contains(r#"rookery_test_commands_bucket{le="128"} 1"#), "{page}");
        for name in
            ["process_resident_memory_bytes", "process_cpu_seconds_total", "process_open_fds", "process_threads"]
        {
            let value = page.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<f64>().ok());
            assert!(value.is_some(), "{name} in {page}");
        }
    }
}
