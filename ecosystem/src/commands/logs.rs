//! `rookery logs`: the end of what `rookery up` has logged, and what comes after it; of a cluster, of all processes in the
//! order of time. For people, unless `--json` asks for the lines as they are.

mod source;

use super::{data_dir, log_dir};
use crate::cli;
use crate::cluster::processes::{self, Processes};
use crate::config::Surroundings;
use crate::log_line::LogLine;
use crate::say;
use anyhow::{Result, bail};
use source::Source;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

const POLL: Duration = Duration::from_millis(200);
/// The launcher's own file is not in a directory of its name.
const LAUNCHER: &str = "launcher";

pub fn run(arguments: &cli::Logs, surroundings: &Surroundings) -> Result<ExitCode> {
    let directory = log_dir(&arguments.place, surroundings);
    let file = if arguments.errors { "error.log" } else { "combined.log" };
    let wanted = |name: &str| arguments.name.as_deref().is_none_or(|wanted| is_meant(wanted, name));
    let look = || sources(&directory, file, wanted);
    let mut sources = look();
    if sources.is_empty() {
        match (&arguments.name, names(&directory, file).join(", ")) {
            (Some(name), names) if !names.is_empty() => {
                bail!("nobody called {name} has a log in {}; there are: {names}", directory.display())
            }
            _ => bail!("there is no log at {}", directory.join(file).display()),
        }
    }
    if let Some(ended) = arguments.name.as_deref().and_then(|name| has_ended(name, arguments, surroundings)) {
        say::progress(ended);
    }
    let mut lines = Vec::new();
    for source in &mut sources {
        lines.extend(source.end(arguments.lines)?);
    }
    let lines = in_order(lines);
    let skipped = lines.len().saturating_sub(arguments.lines);
    let mut read = say::text(text(&lines[skipped..], arguments.json));
    // Until nobody reads any more, as in `rookery logs -f | head`.
    while arguments.follow && read.is_ok() {
        std::thread::sleep(POLL);
        let mut lines = Vec::new();
        for source in &mut sources {
            lines.extend(source.more()?);
        }
        read = say::text(text(&in_order(lines), arguments.json));
        // Processes that have come since: all that they have said is new.
        for new in look() {
            if sources.iter().all(|source| source.path != new.path) {
                sources.push(new);
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Whose logs there are.
fn names(directory: &Path, file: &str) -> Vec<String> {
    let mut names: Vec<String> = sources(directory, file, |_| true).into_iter().map(|source| source.name).collect();
    names.sort();
    names
}

/// Of one that has left a log, while others of its kind are at work: a reload gives them other names.
fn has_ended(name: &str, arguments: &cli::Logs, surroundings: &Surroundings) -> Option<String> {
    let data = data_dir(&arguments.place, surroundings);
    let owner = data.owner().ok()??;
    let processes = processes::of(&data, &owner).ok()??;
    successors(name, &processes).map(|now| format!("{name} has ended; at work now: {now}"))
}

fn successors(name: &str, processes: &Processes) -> Option<String> {
    let (role, _) = name.rsplit_once('-')?;
    let all = || processes.processes.iter();
    let now: Vec<&str> = all().filter(|entry| entry.role.name() == role).map(|entry| entry.name.as_str()).collect();
    (!now.is_empty() && !now.contains(&name)).then(|| now.join(", "))
}

/// `gateway` is every `gateway-…`.
fn is_meant(wanted: &str, name: &str) -> bool {
    name == wanted || name.strip_prefix(wanted).is_some_and(|rest| rest.starts_with('-'))
}

/// The launcher's (or the one process's) file, and those in directories beside it.
fn sources(directory: &Path, file: &str, wanted: impl Fn(&str) -> bool) -> Vec<Source> {
    let mut found: Vec<(String, PathBuf)> = vec![(LAUNCHER.to_owned(), directory.join(file))];
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        found.push((entry.file_name().to_string_lossy().into_owned(), entry.path().join(file)));
    }
    let there = found.into_iter().filter(|(name, path)| wanted(name) && path.is_file());
    there.map(|(name, path)| Source::new(name, path)).collect()
}

/// A line of a file, and whose it is.
struct Line {
    name: String,
    text: String,
    parsed: Option<LogLine>,
}

/// By time; what has none stays behind the line it followed.
fn in_order(lines: Vec<(String, String)>) -> Vec<Line> {
    let mut time = String::new();
    let mut timed: Vec<(String, Line)> = Vec::with_capacity(lines.len());
    for (name, text) in lines {
        let parsed = LogLine::parse(&text);
        if let Some(parsed) = &parsed {
            time = parsed.timestamp().to_owned();
        }
        timed.push((time.clone(), Line { name, text, parsed }));
    }
    // Stable: the lines of one file keep their order.
    timed.sort_by(|(a, _), (b, _)| a.cmp(b));
    timed.into_iter().map(|(_, line)| line).collect()
}

fn text(lines: &[Line], json: bool) -> String {
    let mut out = String::new();
    for line in lines {
        match &line.parsed {
            // One process without a name says nothing of whose line it is.
            Some(parsed) if !json => {
                out.push_str(&parsed.readable(if line.name == LAUNCHER { "" } else { &line.name }));
            }
            _ => out.push_str(&line.text),
        }
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_several_are_merged_by_time() {
        let line = |name: &str, time: &str| {
            (name.to_owned(), format!(r#"{{"timestamp":"{time}","level":"INFO","message":"said by {name}"}}"#))
        };
        let torn = ("gateway-1".to_owned(), "torn".to_owned());
        let lines =
            vec![line("gateway-1", "2"), torn, line("gateway-1", "4"), line("launcher", "1"), line("worker-1", "3")];
        let merged = in_order(lines);
        let words = text(&merged, false);
        let expected = [
            "1  INFO said by launcher",
            "2  INFO gateway-1 said by gateway-1",
            "torn",
            "3  INFO worker-1 said by worker-1",
            "4  INFO gateway-1 said by gateway-1",
        ];
        assert_eq!(words.lines().collect::<Vec<_>>(), expected);
        assert!(text(&merged, true).starts_with(r#"{"timestamp":"1","#));
    }

    #[test]
    fn a_kind_means_all_of_it() {
        assert!(is_meant("gateway", "gateway-1") && is_meant("gateway-1", "gateway-1"));
        assert!(!is_meant("gateway-1", "gateway-11") && !is_meant("gate", "gateway-1"));
    }
}
