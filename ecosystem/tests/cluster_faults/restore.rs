//! PostgreSQL restored from a backup of some time ago, as an operator does it: the programs are cut off, the files put
//! back, the epoch changed, and only then may anybody use the database again.

use crate::engines::Engines;
use crate::history::Restore;
use crate::people::Crowd;
use crate::process::Process;
use crate::proxy::Mode;
use std::path::{Path, PathBuf};
use std::process::Command;
use tokio::runtime::Handle;

pub struct Backup {
    files: PathBuf,
    /// Whatever was answered before is in it.
    begun: u64,
}

/// A copy of the stopped server's files.
pub fn back_up(engines: &Engines, crowd: &Crowd, to: &Path) -> Backup {
    let begun = crowd.recorder.now();
    engines.postgres.stop();
    copy(&engines.postgres.data(), to);
    engines.postgres.restart().unwrap();
    Backup { files: to.to_owned(), begun }
}

pub fn restore<'a>(
    engines: &Engines,
    database: &str,
    crowd: &Crowd,
    backup: &Backup,
    processes: impl Iterator<Item = &'a Process> + Clone,
    runtime: &Handle,
) -> Restore {
    let begun = crowd.recorder.now();
    processes.clone().for_each(|process| process.ways.postgres.set(Mode::Cut));
    engines.postgres.stop();
    let files = engines.postgres.data();
    std::fs::remove_dir_all(&files).unwrap();
    copy(&backup.files, &files);
    engines.postgres.restart().unwrap();
    let store = engines.store(database);
    let before = runtime.block_on(store.get_epoch()).unwrap();
    runtime.block_on(store.update_epoch()).unwrap();
    assert_ne!(runtime.block_on(store.get_epoch()).unwrap(), before);
    let done = crowd.recorder.now();
    processes.for_each(|process| process.ways.postgres.set(Mode::Forward));
    Restore { backup: backup.begun, begun, done }
}

/// With owners and rights: PostgreSQL refuses others.
fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").arg(from).arg(to).output().unwrap();
    assert!(copied.status.success(), "{}", String::from_utf8_lossy(&copied.stderr));
}
