//! How long one fdatasync takes: the least that a commit can cost.

use crate::report::latency::{Latency, Recorder};
use anyhow::{Context, Result};
use serde::Serialize;
use shared::clock;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::time::Duration;

/// A page of WAL, appended each time.
const PAGE: usize = 8192;
const ROUNDS: usize = 1_000;
const LIMIT: Duration = Duration::from_secs(3);

#[derive(Debug, Serialize)]
pub struct Flush {
    pub latency: Latency,
}

/// Up to 1,000 rounds, at most 3 s.
pub fn measure(dir: &Path) -> Result<Flush> {
    let path = dir.join(format!(".loadtest-fdatasync-{}", std::process::id()));
    let outcome = rounds(&path).with_context(|| format!("writing {}", path.display()));
    // It may not have come into being.
    let _ = fs::remove_file(&path);
    outcome
}

fn rounds(path: &Path) -> Result<Flush> {
    let mut file = File::create_new(path)?;
    let mut recorder = Recorder::new();
    let started = clock::monotonic();
    for _ in 0..ROUNDS {
        if started.elapsed() > LIMIT {
            break;
        }
        file.write_all(&[7; PAGE])?;
        let begun = clock::monotonic();
        file.sync_data()?;
        recorder.record(begun.elapsed());
    }
    Ok(Flush { latency: recorder.summary() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        assert!(measure(folder.path()).unwrap().latency.count > 0);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        assert!(measure(&folder.path().join("absent")).is_err());
    }
}
