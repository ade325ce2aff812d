//! The program `rookery`: one command that starts, stops and looks after everything, on one machine.
//!
//! Charter: nothing in here decides what a message is or who may read it. `cli` says what can be asked for, `commands`
//! has one file for each, `up` puts gateway and worker together in one process, `cluster` has them as processes of their
//! own, `services` brings the engines they need where none is configured, and `say` is the one place that writes to a
//! terminal.

pub mod checkout;
pub mod cli;
pub mod cluster;
pub mod commands;
pub mod config;
pub mod data_dir;
pub mod database;
pub mod http;
pub mod log_line;
pub mod say;
pub mod services;
pub mod up;

use shared::config::ConfigError;
use std::process::ExitCode;

/// Settings that are missing or wrong, all of them: exit code 64, where any other failure is 1.
#[derive(Debug, thiserror::Error)]
#[error("the configuration has {} error(s)", .0.len())]
pub struct BadConfiguration(pub Vec<ConfigError>);

pub(crate) const EXIT_CONFIGURATION: u8 = 64;

/// What `main` does, whole: the arguments to a command, its end to an exit code.
pub fn main() -> ExitCode {
    let command = cli::parse();
    match config::Surroundings::read().and_then(|surroundings| commands::run(command, &surroundings)) {
        Ok(code) => code,
        Err(error) => complain(&error),
    }
}

fn complain(error: &anyhow::Error) -> ExitCode {
    if let Some(BadConfiguration(errors)) = error.downcast_ref() {
        for error in errors {
            say::failure(error);
        }
        return ExitCode::from(EXIT_CONFIGURATION);
    }
    // Causes on one line; a cause that spreads over several is cut to its first.
    let words: Vec<String> =
        error.chain().map(|cause| cause.to_string().lines().next().unwrap_or_default().to_owned()).collect();
    say::failure(words.join(": "));
    ExitCode::FAILURE
}
