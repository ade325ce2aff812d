//! `rookery doctor`: everything that has to be right, looked at in one go, as a table. Exit code 1 if anything fails.

mod amqp;
mod engine;
mod machine;
mod named;

use super::{data_dir, read_config, with_stand_ins};
use crate::cli;
use crate::config::Surroundings;
use crate::{database, say};
use anyhow::{Context, Result};
use shared::config::Config;
use std::process::ExitCode;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Level {
    Ok,
    Warn,
    Fail,
}

/// One row of the table.
struct Finding {
    level: Level,
    subject: &'static str,
    words: String,
}

impl Finding {
    fn new(level: Level, subject: &'static str, words: impl Into<String>) -> Self {
        Self { level, subject, words: words.into() }
    }

    /// Fine, or not fine at this level.
    fn when(good: bool, otherwise: Level, subject: &'static str, words: impl Into<String>) -> Self {
        Self::new(if good { Level::Ok } else { otherwise }, subject, words)
    }
}

pub fn run(arguments: &cli::Doctor, surroundings: &Surroundings) -> Result<ExitCode> {
    let data = data_dir(&arguments.place, surroundings);
    let mut findings = vec![Finding::new(Level::Ok, "program", format!("rookery {}", env!("CARGO_PKG_VERSION")))];
    let config = match Config::read(&with_stand_ins(&surroundings.settings)) {
        Ok(config) => Some(config),
        Err(errors) => {
            findings.extend(errors.iter().map(|error| Finding::new(Level::Fail, "settings", error.to_string())));
            None
        }
    };
    if let Some(config) = &config {
        findings.push(Finding::new(Level::Ok, "settings", "every one is valid"));
        findings.extend(machine::look(config, &data, surroundings)?);
        findings.extend(look_at_database(arguments, &data, surroundings)?);
        findings.extend(named::look(config)?);
    }
    let row = |finding: &Finding| {
        let level = match finding.level {
            Level::Ok => "ok",
            Level::Warn => "warn",
            Level::Fail => "FAIL",
        };
        vec![level.to_owned(), finding.subject.to_owned(), finding.words.clone()]
    };
    say::table(&findings.iter().map(row).collect::<Vec<_>>());
    let failed = findings.iter().any(|finding| finding.level == Level::Fail);
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn look_at_database(
    arguments: &cli::Doctor,
    data: &crate::data_dir::DataDir,
    surroundings: &Surroundings,
) -> Result<Vec<Finding>> {
    let database = match database::reach(data, surroundings) {
        Ok(database) => database,
        // A machine on which `up` has never run is not ill.
        Err(error) if !data.postgres().exists() => {
            return Ok(vec![Finding::new(Level::Warn, "database", format!("{error:#}"))]);
        }
        Err(error) => return Ok(vec![Finding::new(Level::Fail, "database", format!("{error:#}"))]),
    };
    let config = read_config(&with_stand_ins(&database.settings))?;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start a runtime")?;
    let mut findings = vec![Finding::new(Level::Ok, "looked at", database.words.clone())];
    findings.extend(runtime.block_on(engine::look(&config, arguments.quick)));
    Ok(findings)
}
