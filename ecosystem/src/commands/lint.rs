//! `rookery lint`: everything that reads the source and runs nothing of it. All steps are done, whatever the earlier ones
//! find; the last lines say which of them were not satisfied.

use crate::checkout::{cargo, run_to_end};
use crate::cli;
use crate::config::Surroundings;
use crate::say;
use anyhow::Result;
use std::process::{Command, ExitCode, Stdio};

/// A step's name, cargo's subcommand and its words. The first two are components that a toolchain may lack.
const STEPS: [(&str, &str, &[&str]); 3] = [
    ("format", "fmt", &["--all", "--check"]),
    ("clippy", "clippy", &["--workspace", "--all-targets", "--", "-D", "warnings"]),
    ("house rules", "test", &["--workspace", "--test", "tidy"]),
];

pub fn run(arguments: &cli::Lint, surroundings: &Surroundings) -> Result<ExitCode> {
    let mut unsatisfied = Vec::new();
    for (name, subcommand, words) in STEPS {
        let mut version = cargo(surroundings)?;
        version.args([subcommand, "--version"]);
        if subcommand != "test" && !quietly(version) {
            say::line(format!("lint: {name} was not checked: `rustup component add rustfmt clippy` brings the tools"));
            if !arguments.quick {
                unsatisfied.push(name);
            }
            continue;
        }
        let mut command = cargo(surroundings)?;
        command.arg(subcommand).args(words);
        step(name, command, &mut unsatisfied)?;
    }
    let mut docs = cargo(surroundings)?;
    docs.args(["doc", "--workspace", "--no-deps", "--document-private-items"]).env("RUSTDOCFLAGS", "-D warnings");
    step("links in comments", docs, &mut unsatisfied)?;
    dependencies(arguments, surroundings, &mut unsatisfied)?;
    if unsatisfied.is_empty() {
        say::line("lint: all is well");
        return Ok(ExitCode::SUCCESS);
    }
    say::line(format!("lint: not satisfied: {}", unsatisfied.join(", ")));
    Ok(ExitCode::FAILURE)
}

fn step(name: &'static str, command: Command, unsatisfied: &mut Vec<&'static str>) -> Result<()> {
    say::progress(name);
    if run_to_end(command)? != ExitCode::SUCCESS {
        unsatisfied.push(name);
    }
    Ok(())
}

/// Licences, bans and sources by `deny.toml`; known vulnerabilities too where their list can be fetched.
fn dependencies(arguments: &cli::Lint, surroundings: &Surroundings, unsatisfied: &mut Vec<&'static str>) -> Result<()> {
    const NAME: &str = "dependencies";
    let deny = |words: &[&str]| -> Result<Command> {
        let mut command = cargo(surroundings)?;
        command.arg("deny").args(words);
        Ok(command)
    };
    if !quietly(deny(&["--version"])?) {
        if arguments.quick || !surroundings.may_install {
            say::line("lint: dependencies were not checked: `cargo install --locked cargo-deny` brings the tool");
            return Ok(());
        }
        let mut install = cargo(surroundings)?;
        install.args(["install", "--locked", "cargo-deny"]);
        say::progress("installing cargo-deny (some minutes, once)");
        if run_to_end(install)? != ExitCode::SUCCESS {
            unsatisfied.push(NAME);
            return Ok(());
        }
    }
    let mut check = deny(&["check"])?;
    if !quietly(deny(&["fetch", "db"])?) {
        say::line("lint: the list of vulnerabilities cannot be fetched; advisories were not checked");
        check.args(["licenses", "bans", "sources"]);
    }
    step(NAME, check, unsatisfied)
}

fn quietly(mut command: Command) -> bool {
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}
