//! `rookery bench`: the project's own load generator against a server of its own, which is made for the run and removed
//! after it. The figures of `docs/performance.md` come from its standard runs.

use crate::checkout::{cargo, run_to_end};
use crate::config::Surroundings;
use crate::data_dir::DataDir;
use crate::services::postgres;
use crate::{cli, say};
use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use shared::clock;
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Duration;

/// Optimised, with symbols, without the minutes of link-time optimisation.
const PROFILE: &str = "plain";
const START: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(20);

/// A load generator is one address and few accounts: what holds back a single client would hold back all of them.
const LIMITS: [&str; 6] = [
    "LIMIT_LOGIN_PER_ADDRESS",
    "LIMIT_LOGIN_PER_ACCOUNT",
    "LIMIT_REGISTER_PER_ADDRESS",
    "LIMIT_REFRESH_PER_ADDRESS",
    "LIMIT_COMMANDS_PER_USER",
    "LIMIT_REQUESTS_PER_ADDRESS",
];
const UNLIMITED: &str = "10000000";

pub fn run(arguments: &cli::Bench, surroundings: &Surroundings) -> Result<ExitCode> {
    let program = build(surroundings)?;
    let mut loadtest = Command::new(program);
    let words = &arguments.arguments;
    let brings_its_own = words.first().is_some_and(|mode| mode == "limit" || mode == "help" || mode.starts_with('-'));
    if brings_its_own || words.iter().any(|word| word.starts_with("--url")) {
        loadtest.args(words);
        return run_to_end(loadtest);
    }
    let server = Server::start(surroundings)?;
    match words.is_empty() {
        true => loadtest.arg("standard").args(server.as_watched(surroundings)?),
        false => loadtest.args(words),
    };
    loadtest.args(["--url", &server.address]);
    run_to_end(loadtest)
}

fn build(surroundings: &Surroundings) -> Result<std::path::PathBuf> {
    let mut build = cargo(surroundings)?;
    // The whole workspace's features, so that nothing is built twice.
    build.args(["build", "--quiet", "--workspace", "--bin", "loadtest", "--profile", PROFILE]);
    if run_to_end(build)? != ExitCode::SUCCESS {
        bail!("the load generator does not build");
    }
    Ok(surroundings.target()?.join(PROFILE).join("loadtest"))
}

/// `rookery up` in a directory that goes with it.
struct Server<'a> {
    child: Child,
    data: DataDir,
    address: String,
    surroundings: &'a Surroundings,
}

impl<'a> Server<'a> {
    fn start(surroundings: &'a Surroundings) -> Result<Self> {
        // Beside the build, and not where temporary files are, which is often memory: a commit has to reach a disk.
        let data = DataDir::at(surroundings.target()?.join(format!("bench-{}", std::process::id())));
        let mut up = Command::new(&surroundings.program);
        up.args(["up", "--port", "0", "--data-dir"]).arg(data.path()).stdin(Stdio::null()).stdout(Stdio::null());
        up.envs(LIMITS.map(|name| (name, UNLIMITED)));
        say::progress("starting a server for the measurement");
        let child = up.spawn().context("cannot start `rookery up`")?;
        let mut server = Self { child, data, address: String::new(), surroundings };
        server.address = server.wait_for_address()?;
        Ok(server)
    }

    fn wait_for_address(&mut self) -> Result<String> {
        let start = clock::monotonic();
        while start.elapsed() < START {
            if let Some(address) = self.data.owner()?.and_then(|owner| owner.address) {
                return Ok(address);
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("`rookery up` has ended ({status})");
            }
            std::thread::sleep(POLL);
        }
        bail!("`rookery up` does not start")
    }

    /// Memory of the server alone, processor time of the database as well.
    fn as_watched(&self, surroundings: &Surroundings) -> Result<Vec<String>> {
        let pid = self.child.id();
        let url = match crate::database::is_given(&surroundings.settings) {
            true => None,
            false => Some(postgres::url_of(&self.data.postgres(), &surroundings.machine)?),
        };
        let mut words =
            vec!["--pids".to_owned(), format!("rookery={pid}"), "--cpu-of".to_owned(), format!("all={pid}+")];
        words.extend(["--dir".to_owned(), self.data.path().display().to_string()]);
        words.extend(url.into_iter().flat_map(|url| ["--database-url".to_owned(), url]));
        Ok(words)
    }
}

impl Drop for Server<'_> {
    fn drop(&mut self) {
        // An error means that it has ended already.
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        drop(self.child.wait());
        if let Err(error) = remove(&self.data, self.surroundings) {
            say::failure(format!("{error:#}"));
        }
    }
}

fn remove(data: &DataDir, surroundings: &Surroundings) -> Result<()> {
    let home = data.postgres();
    if home.join("data").exists() {
        postgres::remove(&home, &surroundings.machine)?;
    }
    let path: &Path = data.path();
    std::fs::remove_dir_all(path).with_context(|| format!("cannot remove {}", path.display()))
}
