//! `rookery test`: the project's tests against a PostgreSQL of their own, which is made for the run and removed after it.
//! Nothing of the machine's services is used, so they may run or not.

use crate::checkout::{cargo, run_to_end};
use crate::config::Surroundings;
use crate::services::postgres::Options;
use crate::{cli, database, say};
use anyhow::Result;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Where the tests find a server that they may make databases in: a superuser's URL.
const DATABASE: &str = "ROOKERY_TEST_DATABASE_URL";
/// Read by the fault tests: how thorough to be.
const FAULTS: &str = "ROOKERY_TEST_FAULTS";
const DIRECTORY: &str = "rookery-test-";

pub fn run(arguments: &cli::Test, surroundings: &Surroundings) -> Result<ExitCode> {
    let mut command = cargo(surroundings)?;
    command.arg("test").args(scope(&arguments.filter)).args(&arguments.filter);
    if arguments.faults {
        command.env(FAULTS, "1");
    }
    if surroundings.settings.get(DATABASE).is_some() {
        say::progress(format!("using the database that {DATABASE} names"));
        return run_to_end(command);
    }
    let temporary = &surroundings.machine.temporary;
    sweep(temporary);
    let home = temporary.join(format!("{DIRECTORY}{}", std::process::id()));
    let postgres = database::start_server(&home, surroundings, &Options::for_tests())?;
    command.env(DATABASE, postgres.url());
    let ended = run_to_end(command);
    postgres.remove()?;
    ended
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
