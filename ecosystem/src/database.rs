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
    /// Which one it is, for people: nobody shall change another one than he thinks.
    pub words: String,
    _started: Option<PrivatePostgres>,
}

/// An existing database; refused where there is none, because only `up` makes one.
pub fn reach(data: &DataDir, surroundings: &Surroundings) -> Result<Database> {
    let mut settings = surroundings.settings.clone();
    if is_given(&settings) {
        let words = words_of_given(settings.get("DATABASE_URL"));
        return Ok(Database { settings, words, _started: None });
    }
    let words = format!("the private database in {}", data.postgres().display());
    if !data.postgres().join("data").exists() {
        bail!("there is no database in {} yet: `rookery up` makes one, or set DATABASE_URL", data.path().display());
    }
    if data.owner()?.is_some() {
        settings.set("DATABASE_URL", postgres::url_of(&data.postgres(), &surroundings.machine)?);
        return Ok(Database { settings, words, _started: None });
    }
    let options = Options { supervise: false, ..Options::default() };
    let started = start_private(data, surroundings, &options)?;
    settings.set("DATABASE_URL", started.url());
    Ok(Database { settings, words, _started: Some(started) })
}

/// The address is told without its login, and not at all where that cannot be told from the rest.
fn words_of_given(url: Option<&str>) -> String {
    let Some(url) = url else { return "the database of POSTGRES_DB".to_owned() };
    let place = || {
        let (_, rest) = url.split_once("://")?;
        let (address, query) = rest.split_once('?').unwrap_or((rest, ""));
        let place = address.split_once('@').map_or(address, |(_, place)| place);
        (!query.contains('@') && !place.contains('@')).then_some(place)
    };
    place().map_or("the database of DATABASE_URL".to_owned(), |place| format!("the database {place} (DATABASE_URL)"))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_is_named_without_its_password() {
        let words = |url| words_of_given(Some(url));
        let expected = "the database db:5432/chat (DATABASE_URL)";
        assert_eq!(words("postgres://u:canary@db:5432/chat?sslmode=require"), expected);
        assert_eq!(words("postgres://db:5432/chat"), expected);
        for odd in ["host=db password=canary", "postgres://u:can@ary@db/chat", "postgres://u:c?ana@ry@db/chat"] {
            assert_eq!(words(odd), "the database of DATABASE_URL");
        }
    }
}
