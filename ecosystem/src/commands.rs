//! One file for each thing that can be asked for. What several of them need is here: which data directory is meant,
//! which settings hold, and who is up.

mod bench;
mod configuration;
mod doctor;
mod down;
mod gateway;
mod lint;
mod logs;
mod migrate;
mod reload;
mod seed;
mod socket;
mod status;
mod test;
mod up;
mod worker;

use crate::BadConfiguration;
use crate::cli::{Command, Place};
use crate::config::{Surroundings, is_given};
use crate::data_dir::{DataDir, Owner};
use crate::database;
use anyhow::{Context, Result};
use shared::config::{Config, Environment};
use std::path::PathBuf;
use std::process::ExitCode;

pub fn run(command: Command, surroundings: &Surroundings) -> Result<ExitCode> {
    match command {
        Command::Up(arguments) => up::run(&arguments, surroundings),
        Command::Down(arguments) => down::run(&arguments, surroundings),
        Command::Gateway(arguments) => gateway::run(&arguments, surroundings),
        Command::Worker(arguments) => worker::run(&arguments, surroundings),
        Command::Reload(place) => reload::run(&place, surroundings),
        Command::Status(place) => status::run(&place, surroundings),
        Command::Logs(arguments) => logs::run(&arguments, surroundings),
        Command::Migrate(place) => migrate::run(&place, surroundings),
        Command::Seed(place) => seed::run(&place, surroundings),
        Command::Socket(arguments) => socket::run(&arguments, surroundings),
        Command::Config(arguments) => configuration::run(&arguments, surroundings),
        Command::Doctor(arguments) => doctor::run(&arguments, surroundings),
        Command::Test(arguments) => test::run(&arguments, surroundings),
        Command::Lint(arguments) => lint::run(&arguments, surroundings),
        Command::Bench(arguments) => bench::run(&arguments, surroundings),
    }
}

fn data_dir(place: &Place, surroundings: &Surroundings) -> DataDir {
    let directory = place.data_dir.clone().unwrap_or_else(|| surroundings.base.join("data"));
    DataDir::at(std::path::absolute(&directory).unwrap_or(directory))
}

/// `LOG_DIR`, else `logs` beside the default data directory, or inside one that was named: two of them never share files.
fn log_dir(place: &Place, surroundings: &Surroundings) -> PathBuf {
    match (surroundings.settings.get("LOG_DIR"), &place.data_dir) {
        (Some(directory), _) => directory.into(),
        (None, Some(data)) => data.join("logs"),
        (None, None) => surroundings.base.join("logs"),
    }
}

fn secret_is_given(settings: &Environment) -> bool {
    is_given(settings, "JWT_SECRET")
}

/// The settings with stand-ins for what `up` makes by itself, to see whether everything else is right.
fn with_stand_ins(settings: &Environment) -> Environment {
    let mut settings = settings.clone();
    if !database::is_given(&settings) {
        settings.set("DATABASE_URL", "postgres://made-by-up@localhost/postgres");
    }
    if !secret_is_given(&settings) {
        settings.set("JWT_SECRET", "made by up, in the data directory");
    }
    settings
}

fn read_config(settings: &Environment) -> Result<Config> {
    Config::read(settings).map_err(|errors| BadConfiguration(errors).into())
}

/// Who is up in this directory with an address, for commands that ask him something.
fn running(data: &DataDir) -> Result<(Owner, String)> {
    let owner = data
        .owner()?
        .with_context(|| format!("nothing is up in {}: start it with `rookery up`", data.path().display()))?;
    let address = owner.address.clone().context("it is still starting")?;
    Ok((owner, address))
}
