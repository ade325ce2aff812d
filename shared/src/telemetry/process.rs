//! What the system says of this process, from /proc, under the names that Prometheus' own clients use.

use crate::clock;
use metrics::gauge;
use std::{fs, sync::OnceLock};

/// Ticks a second in /proc/self/stat: `USER_HZ`, 100 in every Linux ABI that Rust's standard library supports on servers.
const TICKS: f64 = 100.0;

/// Writes the gauges; where there is no /proc they stay away.
pub(super) fn report() {
    static START: OnceLock<u64> = OnceLock::new();
    gauge!("process_start_time_seconds").set(*START.get_or_init(clock::unix_seconds) as f64);
    if let Ok(status) = fs::read_to_string("/proc/self/status") {
        let field = |name| status_field(&status, name);
        if let Some(kibibytes) = field("VmRSS:") {
            gauge!("process_resident_memory_bytes").set(kibibytes * 1024.0);
        }
        if let Some(threads) = field("Threads:") {
            gauge!("process_threads").set(threads);
        }
    }
    if let Some(seconds) = fs::read_to_string("/proc/self/stat").ok().as_deref().and_then(cpu_seconds) {
        gauge!("process_cpu_seconds_total").set(seconds);
    }
    if let Some(open) = open_fds() {
        gauge!("process_open_fds").set(open as f64);
    }
}

fn status_field(status: &str, name: &str) -> Option<f64> {
    status.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next()?.parse().ok())
}

/// User and system time: fields 14 and 15, counted from behind the name, which may contain anything.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    let (user, system): (f64, f64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some((user + system) / TICKS)
}

/// Since Linux 6.2 the directory's size is their number; before, it is 0 and they are counted one by one.
fn open_fds() -> Option<u64> {
    match fs::metadata("/proc/self/fd").ok()?.len() {
        0 => Some(fs::read_dir("/proc/self/fd").ok()?.count() as u64),
        open => Some(open),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found() {
        assert_eq!(status_field("Name:\tx\nVmRSS:\t    1234 kB\n", "VmRSS:"), Some(1234.0));
        assert_eq!(cpu_seconds("7 (a) b) S 1 7 7 0 -1 4 1 0 0 0 250 50 0 0 20 0"), Some(3.0));
    }
}
