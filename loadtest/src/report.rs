//! What a run says: a table for people on stdout, JSON for machines in a file, progress on stderr.

pub mod latency;
pub mod machine;
pub mod progress;

use anyhow::{Context, Result};
use serde::Serialize;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::Path;

/// A table of named figures under a title.
pub struct Table {
    text: String,
}

impl Table {
    pub fn new(title: &str) -> Self {
        Self { text: format!("\n{title}\n{}\n", "-".repeat(title.chars().count())) }
    }

    /// A line: what it is, and how much.
    pub fn row(&mut self, name: &str, value: impl std::fmt::Display) {
        line(&mut self.text, format_args!("  {name:<44} {value}"));
    }

    /// A line of columns, the first to the left, the others to the right.
    pub fn columns<T: AsRef<str>>(&mut self, cells: &[T]) {
        let mut cells = cells.iter().map(AsRef::as_ref);
        let mut text = format!("  {:<26}", cells.next().unwrap_or_default());
        for cell in cells {
            text.push_str(&format!(" {cell:>11}"));
        }
        line(&mut self.text, format_args!("{text}"));
    }

    pub fn note(&mut self, text: &str) {
        line(&mut self.text, format_args!("  {text}"));
    }

    #[cfg(test)]
    pub fn text(&self) -> &str {
        &self.text
    }

    pub fn print(&self) -> Result<()> {
        io::stdout().lock().write_all(self.text.as_bytes()).context("writing to stdout")
    }
}

fn line(text: &mut String, what: std::fmt::Arguments<'_>) {
    text.write_fmt(what).expect("cannot fail because a String takes everything");
    text.push('\n');
}

/// One line to stderr: for warnings and errors.
pub fn warn(text: &str) {
    // Nobody is left to tell if stderr is gone.
    let _ = writeln!(io::stderr().lock(), "loadtest: {text}");
}

/// The file for machines.
#[derive(Serialize)]
struct Document<'a, T> {
    machine: &'a machine::Machine,
    results: T,
}

/// Writes the results with the machine they come from.
pub fn write_json<T: Serialize>(path: &Path, results: T) -> Result<()> {
    let document = Document { machine: &machine::Machine::here(), results };
    let text = serde_json::to_string_pretty(&document).context("encoding the results")?;
    std::fs::write(path, text + "\n").with_context(|| format!("writing {}", path.display()))
}
