//! What can be asked of `rookery`, and the words that explain it.

use crate::cluster::port;
use clap::{Args, Parser, Subcommand, builder::RangedI64ValueParser};
use std::path::PathBuf;

#[derive(Parser)]
#[command(
    name = "rookery",
    version,
    about = "A chat backend: starts, stops and looks after everything",
    disable_help_subcommand = true
)]
#[command(after_help = "Settings come from the environment and from .env; `rookery config` lists them.")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
pub enum Command {
    /// Start everything in the foreground: gateway, worker and, unless DATABASE_URL is set, a private PostgreSQL.
    ///
    /// In one process; with --cluster in several, which talk through Redis and RabbitMQ (private ones unless REDIS_URL and
    /// AMQP_URL are set) and share one port. One that dies is started again. Ctrl-C (or `rookery down`) sends everybody away
    /// in order and stops what was started; a second Ctrl-C ends at once. The data stays. A secret for tokens is made in the
    /// data directory unless JWT_SECRET is set.
    Up(Up),
    /// Stop the `rookery up` of this data directory and wait until it has ended.
    Down(Down),
    /// Replace the processes of `rookery up --cluster` by new ones, while everybody is served.
    ///
    /// The new ones are started beside the old; when all of them are ready, the old ones drain and end. If one does not get
    /// there, the new ones end and nothing has changed. They run the program and read the .env that are there now.
    Reload(Place),
    /// Show whether it runs: pids, address, uptime, health, open sockets. Exit code 1 if it does not or is not ready.
    Status(Place),
    /// Show the log of `rookery up`, or go on showing it; of a cluster, of all its processes together.
    Logs(Logs),
    /// Run one gateway, for a supervisor of your own: systemd, Kubernetes, or anything else that starts processes.
    ///
    /// Needs DATABASE_URL, REDIS_URL, AMQP_URL and JWT_SECRET. What is away is waited for, the schema too (`rookery migrate`
    /// brings it): health at PROBE_HOST and PROBE_PORT says what for. SIGTERM drains, a second one ends at once. Exit code
    /// 64: a setting is wrong, and starting again does not mend it.
    Gateway(Gateway),
    /// Run one worker, for a supervisor of your own.
    ///
    /// Needs DATABASE_URL, REDIS_URL and AMQP_URL, and waits for what is away as `rookery gateway` does. SIGTERM lets it
    /// finish what it has taken; other workers go on with the rest.
    Worker(Worker),
    /// Bring the database's schema up to date; `rookery up` does so by itself.
    Migrate(Place),
    /// Put a small demo world into the running server: four people, three conversations, some messages.
    ///
    /// Doing it again adds nothing: people who are there are signed in, and messages have fixed ids.
    Seed(Place),
    /// Speak the native socket by hand: each line typed is a frame, each frame that comes is a line.
    ///
    /// A line is short for a frame, which gets its number by itself: `message.send {"conversation_id":"…","body":"hi"}`; or the
    /// frame itself: `{"id":9,"cmd":"sync","data":{}}`. Ends when the input has ended and everything is answered, or at Ctrl-C.
    /// Exit code 1 if anything was refused. docs/socket.md has all commands.
    Socket(Socket),
    /// List every setting with its value, default and meaning; secrets are not shown.
    Config(Config),
    /// Check everything that has to be right: engines, versions, rights, clocks, settings, schema, limits, the data itself.
    Doctor(Doctor),
    /// Run the project's tests against a PostgreSQL, a Redis and a RabbitMQ of their own, thrown away afterwards.
    Test(Test),
    /// Run the checks that read the source: format, clippy, licences and bans, house rules.
    Lint(Lint),
    /// Measure with the project's own load generator, against a server that is made for it and removed afterwards.
    Bench(Bench),
}

#[derive(Args)]
pub struct Place {
    /// Where the database and the secrets are kept [default: data, beside the script]
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
}

#[derive(Args)]
pub struct Up {
    #[command(flatten)]
    pub place: Place,
    /// Port to listen on, in place of PORT; 0 takes a free one
    #[arg(long)]
    pub port: Option<u16>,
    /// Gateways and workers as processes of their own
    #[arg(long)]
    pub cluster: bool,
    /// How many gateways
    #[arg(long, requires = "cluster", default_value_t = 2, value_parser = processes(), value_name = "N")]
    pub gateways: u16,
    /// How many workers
    #[arg(long, requires = "cluster", default_value_t = 2, value_parser = processes(), value_name = "M")]
    pub workers: u16,
}

fn processes() -> RangedI64ValueParser<u16> {
    RangedI64ValueParser::new().range(1..=64)
}

#[derive(Args)]
pub struct Gateway {
    #[command(flatten)]
    pub launched: Launched,
    /// Where the listening socket comes from
    #[arg(long, value_enum, default_value = "own")]
    pub listener: port::Source,
    /// Port to listen on, in place of PORT; 0 takes a free one
    #[arg(long)]
    pub port: Option<u16>,
}

#[derive(Args)]
pub struct Worker {
    #[command(flatten)]
    pub launched: Launched,
}

/// How `rookery up --cluster` starts its processes.
#[derive(Args)]
pub struct Launched {
    /// The launcher's pid: the process ends with it and tells it how it is
    #[arg(long, hide = true, value_name = "PID")]
    pub launcher: Option<i32>,
}

#[derive(Args)]
pub struct Down {
    #[command(flatten)]
    pub place: Place,
    /// Do not let anybody finish: end at once
    #[arg(long)]
    pub now: bool,
}

#[derive(Args)]
pub struct Logs {
    #[command(flatten)]
    pub place: Place,
    /// Of a cluster: one process (gateway-1, launcher) or one kind (gateway)
    pub name: Option<String>,
    /// Go on showing what comes
    #[arg(short, long)]
    pub follow: bool,
    /// Errors only
    #[arg(long)]
    pub errors: bool,
    /// As it is in the files: a line of JSON each
    #[arg(long)]
    pub json: bool,
    /// How many of the last lines
    #[arg(short = 'n', long, default_value_t = 50, value_name = "N")]
    pub lines: usize,
}

#[derive(Args)]
pub struct Socket {
    #[command(flatten)]
    pub place: Place,
    /// Address [default: that of the `rookery up` of this data directory, else ws://127.0.0.1:3000/v1/ws]
    #[arg(long)]
    pub url: Option<String>,
    /// An access token to say hello with; without this and --login, hello is yours to type
    #[arg(long, conflicts_with = "login")]
    pub token: Option<String>,
    /// Log in under this name for as long as the socket is open; asks for the password, or takes it from ROOKERY_PASSWORD
    #[arg(long, value_name = "NAME")]
    pub login: Option<String>,
    /// Print heartbeats too
    #[arg(long)]
    pub all: bool,
}

#[derive(Args)]
pub struct Config {
    #[command(flatten)]
    pub place: Place,
    /// Print a .env file with every setting at its default
    #[arg(long, conflicts_with = "markdown")]
    pub env_example: bool,
    /// Print the table of docs/configuration.md
    #[arg(long)]
    pub markdown: bool,
}

#[derive(Args)]
pub struct Doctor {
    #[command(flatten)]
    pub place: Place,
    /// Leave out the check of the database's contents, which reads every message
    #[arg(long)]
    pub quick: bool,
}

#[derive(Args)]
pub struct Test {
    /// Passed on to `cargo test`: a part of a test's name, or options
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "FILTER")]
    pub filter: Vec<String>,
    /// Run the fault tests: the same suite with kills of server and database many times over
    #[arg(long)]
    pub faults: bool,
}

#[derive(Args)]
pub struct Lint {
    /// Do not install what is missing (cargo-deny): say what was not checked
    #[arg(long)]
    pub quick: bool,
}

#[derive(Args)]
pub struct Bench {
    /// Against gateways and workers as processes of their own (`rookery up --cluster`)
    #[arg(long)]
    pub cluster: bool,
    /// Against `rookery up` first, then against a cluster, and both in one table
    #[arg(long, conflicts_with = "cluster")]
    pub both: bool,
    /// Of the cluster
    #[arg(long, default_value_t = 2, value_parser = processes(), value_name = "N")]
    pub gateways: u16,
    /// Of the cluster
    #[arg(long, default_value_t = 2, value_parser = processes(), value_name = "M")]
    pub workers: u16,
    /// Passed on to `loadtest`: `help` lists its runs, `--url` names a server that is up already; without any, the standard runs are done
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENTS")]
    pub arguments: Vec<String>,
}

pub fn parse() -> Command {
    Cli::parse().command
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn what_a_bench_is_against_is_told_from_what_it_runs() {
        let cli = Cli::parse_from(["rookery", "bench", "--cluster", "--gateways", "3", "rooms", "--rate", "300"]);
        let Command::Bench(bench) = cli.command else { panic!("not a bench") };
        assert!(bench.cluster && (bench.gateways, bench.workers) == (3, 2));
        assert_eq!(bench.arguments, ["rooms", "--rate", "300"]);
        assert!(Cli::try_parse_from(["rookery", "bench", "--cluster", "--both"]).is_err());
    }

    #[test]
    fn a_test_filter_may_look_like_an_option() {
        let cli = Cli::parse_from(["rookery", "test", "launcher", "--", "--nocapture"]);
        let Command::Test(test) = cli.command else { panic!("not a test") };
        assert_eq!(test.filter, ["launcher", "--", "--nocapture"]);
    }
}
