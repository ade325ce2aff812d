//! What `rookery` itself takes from the environment, read once and here only: the directories it works in, the programs
//! it calls, and the settings that it passes on to gateway and worker.

use crate::services::{Hints, Machine};
use anyhow::{Context, Result};
use shared::config::{Config, Environment, Secret};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Names beside those of `shared::config`, for the table in the documentation.
pub const NAMES: [(&str, &str); 5] = [
    (
        "ROOKERY_CHECKOUT",
        "The checkout; the script `rookery` sets it. Data, logs and .env are beside it unless told otherwise",
    ),
    ("ROOKERY_INSTALL", "`no`: never install a missing Debian package, only name it"),
    ("PG_BIN_DIR", "Directory of PostgreSQL's server programs, in place of the newest ones found"),
    ("ROOKERY_PASSWORD", "The password for `rookery socket --login`, which asks for it otherwise (secret)"),
    ("CARGO", "The cargo that `test`, `lint` and `bench` call"),
];

#[derive(Clone)]
pub struct Surroundings {
    /// Where `data`, `logs` and `.env` are by default: the checkout if there is one, else the working directory.
    pub base: PathBuf,
    pub checkout: Option<PathBuf>,
    pub machine: Machine,
    pub cargo: PathBuf,
    /// `CARGO_TARGET_DIR`, where cargo was told to build elsewhere.
    target: Option<PathBuf>,
    /// This very program, to start another one of it.
    pub program: PathBuf,
    /// Whether a missing package may be installed, if we are root and this is Debian.
    pub may_install: bool,
    /// For `rookery socket --login`, where nobody is there to be asked.
    pub password: Option<Secret>,
    /// The process's variables over `.env`.
    pub settings: Environment,
}

impl Surroundings {
    pub fn read() -> Result<Self> {
        let here = std::env::current_dir().context("the working directory is gone")?;
        let checkout = named("ROOKERY_CHECKOUT").or_else(|| checkout_around(&here));
        let base = checkout.clone().unwrap_or(here);
        let settings = Environment::of_process(&base).map_err(|error| crate::BadConfiguration(vec![error]))?;
        let path = std::env::var_os("PATH").unwrap_or_default();
        let hints = Hints { pg_bin_dir: named("PG_BIN_DIR"), path: std::env::split_paths(&path).collect() };
        Ok(Self {
            base,
            checkout,
            machine: Machine { hints, temporary: std::env::temp_dir() },
            cargo: named("CARGO").unwrap_or_else(|| "cargo".into()),
            target: named("CARGO_TARGET_DIR"),
            program: std::env::current_exe().context("this program's file is gone")?,
            may_install: std::env::var("ROOKERY_INSTALL").as_deref() != Ok("no"),
            password: std::env::var("ROOKERY_PASSWORD").ok().filter(|password| !password.is_empty()).map(Secret::new),
            settings,
        })
    }

    /// Subcommands for developers work on the source.
    pub fn checkout(&self) -> Result<&Path> {
        self.checkout.as_deref().context("this needs Rookery's source: run the script `rookery` of a checkout")
    }

    /// Where cargo puts what it builds.
    pub fn target(&self) -> Result<PathBuf> {
        let checkout = self.checkout()?;
        Ok(self.target.as_ref().map_or_else(|| checkout.join("target"), |target| checkout.join(target)))
    }
}

/// Whether a setting is there, under its name or one of its aliases.
pub fn is_given(settings: &Environment, name: &str) -> bool {
    let row = Config::table().into_iter().find(|row| row.name == name);
    let names = row.iter().flat_map(|row| std::iter::once(&row.name).chain(row.aliases));
    names.into_iter().any(|name| settings.get(name).is_some())
}

fn named(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).filter(|value: &OsString| !value.is_empty()).map(PathBuf::from)
}

fn checkout_around(here: &Path) -> Option<PathBuf> {
    let is_checkout =
        |directory: &&Path| directory.join("ecosystem/Cargo.toml").is_file() && directory.join("migrations").is_dir();
    here.ancestors().find(is_checkout).map(Path::to_path_buf)
}
