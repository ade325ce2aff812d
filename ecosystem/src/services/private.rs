//! A private server of any kind, as its owner holds it: dropped, it stops.

use super::keeper::Keeper;
use super::place::Place;
use super::{Kind, Server};
use crate::say;
use anyhow::{Context, Result, anyhow, bail};
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::ScopedJoinHandle;

/// A server that takes connections. Dropping it stops it.
pub struct Private<S> {
    keeper: Keeper,
    server: Arc<S>,
    created: bool,
    /// One launcher per home. The lock goes with the open file, so a killed launcher never leaves one behind.
    _lock: File,
}

impl<S: Server> Private<S> {
    /// Blocks until it takes connections. `lock` is that of the place; `created` says that the data was made for this.
    pub(super) fn run(server: S, lock: File, created: bool, supervise: bool) -> Result<Self> {
        let server = Arc::new(server);
        let keeper = Keeper::start(server.clone(), supervise)?;
        Ok(Self { keeper, server, created, _lock: lock })
    }

    /// For clients; the same as long as the home stays where it is.
    pub fn url(&self) -> String {
        self.server.url()
    }

    pub fn pid(&self) -> Option<u32> {
        self.keeper.pid()
    }

    /// When it was started, in Unix seconds; `None` while it is down.
    pub fn since(&self) -> Option<u64> {
        self.keeper.since()
    }

    /// Whether this start has made the data.
    pub fn created(&self) -> bool {
        self.created
    }

    /// Where it keeps what it has to keep.
    pub fn data(&self) -> PathBuf {
        self.server.place().data()
    }

    /// One line about an unusual place of the data.
    pub fn remark(&self) -> Option<&str> {
        self.server.place().remark.as_deref()
    }

    /// SIGKILL; returns when the server is dead. It stays dead until `restart`, unless it is supervised.
    pub fn kill(&self) {
        self.keeper.kill();
    }

    /// In order if it is up, from what was left if it was killed.
    pub fn restart(&self) -> Result<()> {
        self.keeper.down();
        self.keeper.up()
    }

    /// In order. `restart` brings it back.
    pub fn stop(&self) {
        self.keeper.down();
    }

    /// Stops it and deletes everything it has kept. For servers of tests.
    pub fn remove(self) -> Result<()> {
        let Self { keeper, server, .. } = self;
        drop(keeper);
        server.place().remove()
    }
}

/// What a thread has started that was to start a server, if there was one: several are started side by side.
pub fn started<S: Server>(thread: Option<ScopedJoinHandle<'_, Result<Private<S>>>>) -> Result<Option<Private<S>>> {
    let Some(thread) = thread else { return Ok(None) };
    let started = thread.join().unwrap_or_else(|_| Err(anyhow!("a service could not be started: it panicked")))?;
    if let Some(remark) = started.remark() {
        say::progress(remark);
    }
    Ok(Some(started))
}

/// Deletes the stopped server in `home` and all its data, wherever they had to go.
pub(super) fn remove(home: &Path, temporary: &Path, kind: &Kind) -> Result<()> {
    let place = Place::resolve(home, temporary, kind)?;
    let _lock = lock(&place, kind)?;
    place.remove()
}

pub(super) fn lock(place: &Place, kind: &Kind) -> Result<File> {
    let path = place.home.join("launcher.lock");
    let file = File::options().create(true).truncate(false).write(true).open(&path);
    let file = file.with_context(|| format!("cannot open {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            bail!("the {} in {} is in use by another rookery", kind.name, place.home.display())
        }
        Err(TryLockError::Error(error)) => Err(error).with_context(|| format!("cannot lock {}", path.display())),
    }
}
