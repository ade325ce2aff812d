//! Which database is meant, for everything that needs one: the configured one, the private one that somebody keeps up in
//! this data directory, or the private one started for as long as it is needed.

use crate::config::Surroundings;
use crate::data_dir::DataDir;
use crate::say;
use crate::services::debian;
use crate::services::postgres::{self, Options, PrivatePostgres};
use anyhow::{Result, bail};
use shared::config::Environment;

/// Whether one is configured, in any of the forms that `shared::config` takes.
pub fn is_given(settings: &Environment) -> bool {
    settings.get("DATABASE_URL").or_else(|| settings.get("POSTGRES_DB")).is_some()
}

/// The settings completed by a database that is there; dropping this ends what was started for it.
pub struct Database {
    pub settings: Environment,
    _started: Option<PrivatePostgres>,
}

/// An existing database; refused where there is none, because only `up` makes one.
pub fn reach(data: &DataDir, surroundings: &Surroundings) -> Result<Database> {
    let mut settings = surroundings.settings.clone();
    if is_given(&settings) {
        return Ok(Database { settings, _started: None });
    }
    if !data.postgres().join("data").exists() {
        bail!("there is no database in {} yet: `rookery up` makes one, or set DATABASE_URL", data.path().display());
    }
    if data.owner()?.is_some() {
        settings.set("DATABASE_URL", postgres::url_of(&data.postgres(), &surroundings.machine)?);
        return Ok(Database { settings, _started: None });
    }
    let options = Options { supervise: false, ..Options::default() };
    let started = start_private(data, surroundings, &options)?;
    settings.set("DATABASE_URL", started.url());
    Ok(Database { settings, _started: Some(started) })
}

/// The private server of this data directory; its package is installed if it is missing and that is allowed.
pub fn start_private(data: &DataDir, surroundings: &Surroundings, options: &Options) -> Result<PrivatePostgres> {
    debian::provide(&[&postgres::KIND], &surroundings.machine.hints, surroundings.may_install)?;
    let postgres = PrivatePostgres::start(&data.postgres(), &surroundings.machine, options)?;
    if let Some(remark) = postgres.remark() {
        say::progress(remark);
    }
    Ok(postgres)
}
