//! Faults that a test puts into a running worker: debug builds only, a release has none of this.
//!
//! `ROOKERY_FAILPOINT` names them, with commas between:
//!
//! * `before_commit:3`, `after_commit:3` (committed, not handed on): at its third passing of that point the process ends,
//!   without any clean-up.
//! * `duplicate_every:5`: every fifth batch comes again at once, and once more ten seconds later.
//! * `mutant:answer_before_commit`: answers and acknowledges, and then stores.
//! * `mutant:nack_requeue`: when PostgreSQL fails, goes on with what it has and puts the failed batch behind that.
//!
//! A mutant is wrong on purpose: whatever judges a run with one must notice.

mod copies;

use shared::bus::CommandConsumer;
use std::{
    sync::{
        LazyLock,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

/// When the second copy comes: most clients have long forgotten, and `executed` has not.
const COPY_LATER: Duration = Duration::from_secs(10);

static ARMED: LazyLock<Vec<Armed>> = LazyLock::new(|| {
    let text = shared::config::failpoint().unwrap_or_default();
    text.split(',').filter_map(Armed::parse).collect()
});

struct Armed {
    name: String,
    value: String,
    passed: AtomicU32,
}

impl Armed {
    fn parse(text: &str) -> Option<Self> {
        let (name, value) = text.split_once(':')?;
        Some(Self { name: name.to_owned(), value: value.to_owned(), passed: AtomicU32::new(0) })
    }

    fn count(&self) -> Option<u32> {
        self.value.parse().ok().filter(|count| *count > 0)
    }
}

/// Never in a release: the compiler drops what hangs on it.
fn armed(name: &str) -> Option<&'static Armed> {
    if cfg!(debug_assertions) { ARMED.iter().find(|armed| armed.name == name) } else { None }
}

/// Passes a point: `before_commit` or `after_commit`.
pub fn pass(name: &str) {
    if let Some(armed) = armed(name)
        && armed.count() == Some(armed.passed.fetch_add(1, Ordering::Relaxed) + 1)
    {
        std::process::abort();
    }
}

pub fn is_mutant(name: &str) -> bool {
    armed("mutant").is_some_and(|armed| armed.value == name)
}

/// A consumer that delivers some of its batches three times, where that was asked for.
pub fn consumer(consumer: Box<dyn CommandConsumer>) -> Box<dyn CommandConsumer> {
    match armed("duplicate_every").and_then(Armed::count) {
        Some(every) => Box::new(copies::Copies::new(consumer, every, COPY_LATER)),
        None => consumer,
    }
}
