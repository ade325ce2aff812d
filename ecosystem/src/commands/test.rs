//! `rookery test`: the project's tests against a PostgreSQL, a Redis and a RabbitMQ of their own, which are made for the
//! run and removed after it. Nothing of the machine's services is used, so they may run or not.

use crate::checkout::{cargo, run_to_end};
use crate::config::Surroundings;
use crate::services::postgres::{KIND as POSTGRES, Options as PostgresOptions, PrivatePostgres};
use crate::services::private::{Private, started};
use crate::services::rabbitmq::{KIND as RABBITMQ, Options as RabbitOptions, PrivateRabbit};
use crate::services::redis::{KIND as REDIS, Options as RedisOptions, PrivateRedis};
use crate::services::{Kind, debian};
use crate::{cli, say};
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;

/// Where the tests find a server that they may make databases in: a superuser's URL.
const DATABASE: &str = "ROOKERY_TEST_DATABASE_URL";
/// Where they find servers for keys and queues of their own. What they kill or fill they start themselves.
const MEMORY: &str = "ROOKERY_TEST_REDIS_URL";
const BROKER: &str = "ROOKERY_TEST_AMQP_URL";
/// Read by the fault tests: how thorough to be.
const FAULTS: &str = "ROOKERY_TEST_FAULTS";
const DIRECTORY: &str = "rookery-test-";

pub fn run(arguments: &cli::Test, surroundings: &Surroundings) -> Result<ExitCode> {
    let mut command = cargo(surroundings)?;
    command.arg("test").args(scope(&arguments.filter)).args(&arguments.filter);
    if arguments.faults {
        command.env(FAULTS, "1");
    }
    let temporary = &surroundings.machine.temporary;
    sweep(temporary);
    let home = temporary.join(format!("{DIRECTORY}{}", std::process::id()));
    let engines = Engines::start(&home, surroundings)?;
    command.envs(engines.urls());
    let ended = run_to_end(command);
    engines.remove(&home)?;
    ended
}

/// Those that nobody has named.
#[derive(Default)]
struct Engines {
    postgres: Option<PrivatePostgres>,
    redis: Option<PrivateRedis>,
    rabbitmq: Option<PrivateRabbit>,
}

impl Engines {
    /// Side by side: RabbitMQ takes some seconds.
    fn start(home: &Path, surroundings: &Surroundings) -> Result<Self> {
        let all: [(&str, &'static Kind); 3] = [(DATABASE, &POSTGRES), (MEMORY, &REDIS), (BROKER, &RABBITMQ)];
        let wanted = |name: &str| surroundings.settings.get(name).is_none();
        for (name, kind) in all.iter().filter(|(name, _)| !wanted(name)) {
            say::progress(format!("using the {} that {name} names", kind.name));
        }
        let kinds: Vec<_> = all.iter().filter(|(name, _)| wanted(name)).map(|(_, kind)| *kind).collect();
        if kinds.is_empty() {
            return Ok(Self::default());
        }
        debian::provide(&kinds, &surroundings.machine.hints, surroundings.may_install)?;
        let machine = &surroundings.machine;
        let started = thread::scope(|scope| {
            let postgres = wanted(DATABASE).then(|| {
                scope.spawn(|| PrivatePostgres::start(&home.join("postgres"), machine, &PostgresOptions::for_tests()))
            });
            let redis = wanted(MEMORY)
                .then(|| scope.spawn(|| PrivateRedis::start(&home.join("redis"), machine, &RedisOptions::for_tests())));
            let rabbitmq = wanted(BROKER).then(|| {
                scope.spawn(|| PrivateRabbit::start(&home.join("rabbitmq"), machine, &RabbitOptions::for_tests()))
            });
            // All are waited for before one that failed takes the others down.
            let (postgres, redis, rabbitmq) = (started(postgres), started(redis), started(rabbitmq));
            Ok(Self { postgres: postgres?, redis: redis?, rabbitmq: rabbitmq? })
        });
        if started.is_err() {
            drop(std::fs::remove_dir_all(home));
        }
        started
    }

    fn urls(&self) -> impl Iterator<Item = (&'static str, String)> {
        let urls = [
            (DATABASE, self.postgres.as_ref().map(Private::url)),
            (MEMORY, self.redis.as_ref().map(Private::url)),
            (BROKER, self.rabbitmq.as_ref().map(Private::url)),
        ];
        urls.into_iter().filter_map(|(name, url)| Some((name, url?)))
    }

    fn remove(self, home: &Path) -> Result<()> {
        self.postgres.map_or(Ok(()), Private::remove)?;
        self.redis.map_or(Ok(()), Private::remove)?;
        self.rabbitmq.map_or(Ok(()), Private::remove)?;
        match std::fs::remove_dir_all(home) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("cannot remove {}", home.display()))
            }
            _ => Ok(()),
        }
    }
}

/// The whole workspace, unless the filter names packages; and all of it, even when a part fails.
fn scope(filter: &[String]) -> Vec<&'static str> {
    let mut own = filter.iter().take_while(|word| *word != "--");
    let names_packages = own.any(|word| word == "-p" || word.starts_with("--package"));
    if names_packages { vec!["--no-fail-fast"] } else { vec!["--workspace", "--no-fail-fast"] }
}

/// Removes what runs that were killed have left: their servers have ended with them.
fn sweep(temporary: &Path) {
    let entries = std::fs::read_dir(temporary).into_iter().flatten().flatten();
    let of_the_dead = entries.map(|entry| entry.path()).filter(|path| owner_is_dead(path));
    // One that belongs to another user is his to remove.
    of_the_dead.for_each(|path: PathBuf| drop(std::fs::remove_dir_all(path)));
}

fn owner_is_dead(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let pid = name.strip_prefix(DIRECTORY).and_then(|pid| pid.parse::<u32>().ok());
    pid.is_some_and(|pid| !Path::new("/proc").join(pid.to_string()).exists())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_named_package_narrows_the_scope() {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(scope(&words("-p shared store")), ["--no-fail-fast"]);
        assert_eq!(scope(&words("store -- -p")), ["--workspace", "--no-fail-fast"]);
    }

    #[test]
    fn only_directories_of_dead_runs_are_swept() {
        let temporary = tempfile::tempdir().unwrap();
        let make = |name: String| {
            let path = temporary.path().join(name);
            std::fs::create_dir(&path).unwrap();
            path
        };
        let living = make(format!("{DIRECTORY}{}", std::process::id()));
        // Beyond the largest number a process can have.
        let dead = make(format!("{DIRECTORY}4999999"));
        let other = make(format!("{DIRECTORY}notes"));
        sweep(temporary.path());
        assert!(living.exists() && other.exists() && !dead.exists());
    }
}
