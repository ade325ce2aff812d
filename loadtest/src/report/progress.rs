//! The progress bar, on stderr and only where that is a terminal.

use indicatif::{ProgressBar, ProgressStyle};

/// A bar that counts up to a total.
pub struct Progress {
    bar: ProgressBar,
}

impl Progress {
    pub fn new(what: &'static str, total: usize) -> Self {
        let bar = ProgressBar::new(total as u64).with_message(what);
        if let Ok(style) = ProgressStyle::with_template("{msg:<24} [{bar:40}] {pos}/{len} {elapsed}") {
            bar.set_style(style);
        }
        Self { bar }
    }

    pub fn add(&self, count: usize) {
        self.bar.inc(count as u64);
    }

    /// For bars of seconds: where it stands.
    pub fn at(&self, position: usize) {
        self.bar.set_position(position as u64);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
