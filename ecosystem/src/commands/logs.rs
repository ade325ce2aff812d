//! `rookery logs`: the end of the log that `rookery up` writes, and what comes after it, over its rotation.

use super::log_dir;
use crate::cli;
use crate::config::Surroundings;
use crate::say;
use anyhow::{Context, Result};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

/// The end of a file that the last lines are looked for in, and the largest piece read at once.
const TAIL_BYTES: u64 = 1 << 20;
const POLL: Duration = Duration::from_millis(200);

pub fn run(arguments: &cli::Logs, surroundings: &Surroundings) -> Result<ExitCode> {
    let name = if arguments.errors { "error.log" } else { "combined.log" };
    let path = log_dir(&arguments.place, surroundings).join(name);
    let mut file = open(&path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
    let text = read_on(&mut file)?;
    let mut read = say::text(last_lines(&text, arguments.lines));
    // Until nobody reads any more, as in `rookery logs -f | head`.
    while arguments.follow && read.is_ok() {
        std::thread::sleep(POLL);
        // Asked first, so that what was written before the turn is still read from the old file.
        let turned = turned(&path, &file);
        read = say::text(read_on(&mut file)?);
        if turned {
            file = open(&path)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn open(path: &Path) -> Result<File> {
    File::open(path).with_context(|| format!("there is no log at {}", path.display()))
}

fn read_on(file: &mut File) -> Result<String> {
    let mut bytes = Vec::new();
    file.take(TAIL_BYTES).read_to_end(&mut bytes).context("cannot read the log")?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
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

fn last_lines(text: &str, lines: usize) -> &str {
    let mut starts = text.trim_end_matches('\n').rmatch_indices('\n').map(|(at, _)| at + 1);
    match lines {
        0 => "",
        _ => &text[starts.nth(lines - 1).unwrap_or(0)..],
    }
}

#[cfg(test)]
mod tests {
    use super::last_lines;

    #[test]
    fn the_last_lines_of_a_text() {
        assert_eq!(last_lines("a\nb\nc\n", 2), "b\nc\n");
        assert_eq!(last_lines("a\nb", 5), "a\nb");
        assert_eq!(last_lines("a\nb\n", 0), "");
        assert_eq!(last_lines("", 3), "");
    }
}
