//! One log file, read from its end and then as it grows, over its rotation.

use anyhow::{Context, Result};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The end of a file that the last lines are looked for in, and the largest piece read at once.
const PIECE_BYTES: u64 = 1 << 20;

pub struct Source {
    /// Whose it is.
    pub name: String,
    pub path: PathBuf,
    /// `None` until something has been read of it.
    file: Option<File>,
    /// The beginning of a line whose end has not been written yet.
    begun: Vec<u8>,
}

impl Source {
    pub fn new(name: String, path: PathBuf) -> Self {
        Self { name, path, file: None, begun: Vec::new() }
    }

    /// The last lines, each with its name.
    pub fn end(&mut self, lines: usize) -> Result<Vec<(String, String)>> {
        let mut file = File::open(&self.path).with_context(|| format!("cannot read {}", self.path.display()))?;
        let length = file.metadata()?.len();
        let start = length.saturating_sub(PIECE_BYTES);
        file.seek(SeekFrom::Start(start))?;
        self.file = Some(file);
        let mut all = self.read_on()?;
        if start > 0 && !all.is_empty() {
            // It began somewhere before.
            all.remove(0);
        }
        let skipped = all.len().saturating_sub(lines);
        Ok(all.split_off(skipped))
    }

    /// What has come since; all of it at first.
    pub fn more(&mut self) -> Result<Vec<(String, String)>> {
        let mut lines = Vec::new();
        if self.file.is_none() {
            self.file = File::open(&self.path).ok();
        }
        let Some(file) = &self.file else { return Ok(lines) };
        // Asked first, so that what was written before the turn is still read from the old file.
        let turned = turned(&self.path, file);
        loop {
            let more = self.read_on()?;
            let done = more.is_empty();
            lines.extend(more);
            if done {
                break;
            }
        }
        if turned {
            self.file = None;
        }
        Ok(lines)
    }

    fn read_on(&mut self) -> Result<Vec<(String, String)>> {
        let Some(file) = &mut self.file else { return Ok(Vec::new()) };
        file.take(PIECE_BYTES).read_to_end(&mut self.begun).context("cannot read the log")?;
        let Some(end) = self.begun.iter().rposition(|byte| *byte == b'\n') else { return Ok(Vec::new()) };
        let rest = self.begun.split_off(end + 1);
        let whole = std::mem::replace(&mut self.begun, rest);
        let whole = String::from_utf8_lossy(&whole);
        Ok(whole.lines().map(|line| (self.name.clone(), line.to_owned())).collect())
    }
}

/// Whether another file bears the name now.
fn turned(path: &Path, file: &File) -> bool {
    let inode = |metadata: std::fs::Metadata| metadata.ino();
    match (path.metadata().map(inode), file.metadata().map(inode)) {
        (Ok(there), Ok(ours)) => there != ours,
        // Between the rename and the new file: look again.
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn lines(read: Vec<(String, String)>) -> Vec<String> {
        read.into_iter().map(|(_, line)| line).collect()
    }

    #[test]
    fn the_end_then_what_comes_over_a_turn() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("combined.log");
        let append = |text: &str| {
            let file = File::options().create(true).append(true).open(&path);
            file.unwrap().write_all(text.as_bytes()).unwrap();
        };
        append("a\nb\nc\nd");
        let mut source = Source::new("x".into(), path.clone());
        assert_eq!(lines(source.end(2).unwrap()), ["b", "c"]);
        append("d\n");
        assert_eq!(lines(source.more().unwrap()), ["dd"]);
        append("e\n");
        std::fs::rename(&path, directory.path().join("combined.log.1")).unwrap();
        append("f\n");
        assert_eq!(lines(source.more().unwrap()), ["e"]);
        assert_eq!(lines(source.more().unwrap()), ["f"]);
        assert!(source.more().unwrap().is_empty());
        assert!(lines(Source::new("x".into(), path).end(0).unwrap()).is_empty());
    }

    #[test]
    fn the_first_piece_of_a_large_file_is_not_shown() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("combined.log");
        let line = "y".repeat(99);
        std::fs::write(&path, format!("{line}\n").repeat(20_000)).unwrap();
        let read = lines(Source::new("x".into(), path).end(usize::MAX).unwrap());
        assert!(read.len() > 10_000 && read.iter().all(|read| *read == line));
    }
}
