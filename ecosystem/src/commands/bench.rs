//! `rookery bench`: the project's own load generator against a server of its own, which is made for the run and removed
//! after it: `rookery up`, or with `--cluster` gateways and workers as processes, or with `--both` the one after the other,
//! set beside each other. The figures of `docs/performance.md` come from it.

mod server;

use crate::checkout::{cargo, run_to_end};
use crate::cli;
use crate::config::Surroundings;
use anyhow::{Result, bail};
use server::{Server, Shape};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// Optimised, with symbols, without the minutes of link-time optimisation.
const PROFILE: &str = "plain";

pub fn run(arguments: &cli::Bench, surroundings: &Surroundings) -> Result<ExitCode> {
    let program = build(surroundings)?;
    let words = Words::of(&arguments.arguments);
    if words.bring_their_own_server() {
        let mut loadtest = Command::new(program);
        loadtest.args(&arguments.arguments);
        return run_to_end(loadtest);
    }
    let cluster = Shape::Cluster { gateways: arguments.gateways, workers: arguments.workers };
    if arguments.both {
        return both(&program, &words, cluster, surroundings);
    }
    let shape = if arguments.cluster { cluster } else { Shape::OneProcess };
    measure(&program, &words, shape, None, surroundings)
}

fn build(surroundings: &Surroundings) -> Result<PathBuf> {
    let mut build = cargo(surroundings)?;
    // The whole workspace's features, so that nothing is built twice.
    build.args(["build", "--quiet", "--workspace", "--bin", "loadtest", "--profile", PROFILE]);
    if run_to_end(build)? != ExitCode::SUCCESS {
        bail!("the load generator does not build");
    }
    Ok(surroundings.target()?.join(PROFILE).join("loadtest"))
}

/// One server, one run of the load generator; its results go to `json` as well, where that is given.
fn measure(
    program: &Path,
    words: &Words<'_>,
    shape: Shape,
    json: Option<&Path>,
    surroundings: &Surroundings,
) -> Result<ExitCode> {
    let server = Server::start(shape, words.mode() == "reconnect", surroundings)?;
    let mut loadtest = Command::new(program);
    loadtest.args(words.completed(shape, &server)?);
    if let Some(json) = json {
        loadtest.arg("--json").arg(json);
    }
    run_to_end(loadtest)
}

/// The same run on both, and both in one table. The worse of the two exit codes is ours.
fn both(program: &Path, words: &Words<'_>, cluster: Shape, surroundings: &Surroundings) -> Result<ExitCode> {
    if !matches!(words.mode(), "rooms" | "standard") {
        bail!(
            "--both sets runs of rooms beside each other: `rooms` with its options, or nothing for the standard ones"
        );
    }
    let file = |name: &str| -> Result<PathBuf> {
        Ok(surroundings.target()?.join(format!("bench-{}-{name}.json", std::process::id())))
    };
    let (first, second) = (file("up")?, file("cluster")?);
    let one = measure(program, words, Shape::OneProcess, Some(&first), surroundings)?;
    let other = measure(program, words, cluster, Some(&second), surroundings)?;
    let mut beside = Command::new(program);
    beside.arg("beside").args([&first, &second]).args(["--names", "up", "cluster"]);
    let shown = run_to_end(beside)?;
    for file in [first, second] {
        std::fs::remove_file(file)?;
    }
    let bad = [one, other, shown].into_iter().find(|code| *code != ExitCode::SUCCESS);
    Ok(bad.unwrap_or(ExitCode::SUCCESS))
}

/// What was said behind `bench`, for `loadtest`.
struct Words<'a> {
    said: &'a [String],
}

impl<'a> Words<'a> {
    fn of(said: &'a [String]) -> Self {
        Self { said }
    }

    fn mode(&self) -> &str {
        self.said.first().map_or("standard", String::as_str)
    }

    fn name(&self, option: &str) -> bool {
        self.said.iter().any(|word| word == option || word.starts_with(&format!("{option}=")))
    }

    fn bring_their_own_server(&self) -> bool {
        let elsewhere = self.name("--url") || self.name("--database-url");
        elsewhere || matches!(self.mode(), "help" | "beside") || self.mode().starts_with('-')
    }

    /// With what only we know: where the server is, and what of it to watch.
    fn completed(&self, shape: Shape, server: &Server<'_>) -> Result<Vec<OsString>> {
        let mut words: Vec<OsString> = self.said.iter().map(OsString::from).collect();
        let mode = self.mode().to_owned();
        if words.is_empty() {
            words.push(OsString::from(&mode));
        }
        let mut add = |option: &str, value: OsString| words.extend([OsString::from(option), value]);
        if mode != "limit" {
            add("--url", server.address().into());
        }
        if matches!(mode.as_str(), "rooms" | "standard") {
            add("--parts-of", server.pid().to_string().into());
            add("--metrics", server.metrics()?.join(",").into());
        }
        if matches!(mode.as_str(), "limit" | "standard") {
            add("--dir", server.directory().into());
        }
        if matches!(mode.as_str(), "limit" | "standard" | "reconnect")
            && let Some(url) = server.database_url()?
        {
            add("--database-url", url.into());
        }
        if mode == "reconnect" {
            add("--launcher", server.pid().to_string().into());
            add("--secret-file", server.secrets().into());
        }
        if mode == "standard" {
            match shape {
                Shape::OneProcess => add("--pids", format!("rookery={}", server.pid()).into()),
                Shape::Cluster { .. } => words.push("--rooms-only".into()),
            }
        }
        Ok(words)
    }
}
