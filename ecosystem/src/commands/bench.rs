//! `rookery bench`: the project's own load generator, against the server that is up in this data directory. The figures of
//! `docs/performance.md` come from its standard runs.

use super::{data_dir, running};
use crate::checkout::{cargo, run_to_end};
use crate::cli;
use crate::config::Surroundings;
use crate::say;
use anyhow::Result;
use std::process::ExitCode;

/// Optimised, with symbols, without the minutes of link-time optimisation.
const PROFILE: &str = "plain";

/// What is run without arguments; `{address}` is the server's. The limits of the machine come first, in the same run,
/// because a figure means something only beside them.
const STANDARD: [&[&str]; 3] =
    [&["limit"], &["rooms", "--url", "{address}"], &["idle", "--url", "{address}", "--pid", "{pid}"]];

pub fn run(arguments: &cli::Bench, surroundings: &Surroundings) -> Result<ExitCode> {
    let loadtest = |words: &[String]| {
        let mut command = cargo(surroundings)?;
        command.args(["run", "--quiet", "--profile", PROFILE, "--package", "loadtest", "--"]).args(words);
        run_to_end(command)
    };
    if !arguments.arguments.is_empty() {
        return loadtest(&arguments.arguments);
    }
    let (owner, address) = running(&data_dir(&arguments.place, surroundings))?;
    for words in STANDARD {
        let fill = |word: &&str| word.replace("{address}", &address).replace("{pid}", &owner.pid.to_string());
        let words: Vec<String> = words.iter().map(fill).collect();
        say::progress(format!("loadtest {}", words.join(" ")));
        let ended = loadtest(&words)?;
        if ended != ExitCode::SUCCESS {
            return Ok(ended);
        }
    }
    Ok(ExitCode::SUCCESS)
}
