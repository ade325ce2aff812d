//! Points at which a test kills the process: debug builds only, a release has none of this.
//!
//! `ROOKERY_FAILPOINT=before_commit:3` ends the process without any clean-up at the third passing of that point.

/// Passes a point. The names are `before_commit` and `after_commit` (committed, not handed on).
#[cfg(debug_assertions)]
pub fn pass(name: &str) {
    use std::sync::{
        LazyLock,
        atomic::{AtomicU32, Ordering},
    };
    static ARMED: LazyLock<Option<(String, u32)>> = LazyLock::new(|| {
        let text = shared::config::failpoint()?;
        let (name, count) = text.split_once(':')?;
        Some((name.to_owned(), count.parse().ok()?))
    });
    static PASSED: AtomicU32 = AtomicU32::new(0);
    if let Some((armed, count)) = &*ARMED
        && armed == name
        && PASSED.fetch_add(1, Ordering::Relaxed) + 1 == *count
    {
        std::process::abort();
    }
}

#[cfg(not(debug_assertions))]
pub fn pass(_: &str) {}
