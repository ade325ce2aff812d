//! What a program tells of itself: logs (one subscriber for the process) and metrics (one recorder). The first thing a
//! program starts, because a metric registered before its recorder counts nowhere.
//!
//! Lines are formatted where they arise and written by a thread of their own: a slow disk or a stopped terminal never
//! holds a socket up. What waits for the thread is bounded; what does not fit is dropped and counted. Secrets have no
//! form to be logged in (`config::Secret`), and message texts are logged nowhere.

mod files;
mod process;
mod recorder;
mod writer;

pub use recorder::metrics;

use crate::{
    clock,
    config::{ConfigError, LogConfig},
};
use files::RotatingFile;
use std::{
    io::IsTerminal,
    sync::{Arc, OnceLock},
};
use tracing::{Dispatch, Metadata};
use tracing_subscriber::{
    EnvFilter, Layer,
    filter::filter_fn,
    fmt::{self, format::Writer, time::FormatTime},
    layer::SubscriberExt,
};
use writer::{LineMaker, LogWriter, Outputs};

/// Keeps what is logged coming out: dropped at the end of `main`, it waits until everything is written.
pub struct Telemetry {
    log: Arc<LogWriter>,
}

/// Starts both, once per process: a second call logs where the first one said. An error is a setting to be corrected.
pub fn start(config: &LogConfig) -> Result<Telemetry, ConfigError> {
    static STARTED: OnceLock<Arc<LogWriter>> = OnceLock::new();
    recorder::start();
    if let Some(log) = STARTED.get() {
        return Ok(Telemetry { log: log.clone() });
    }
    let (dispatch, log) = subscriber(config)?;
    let log = STARTED.get_or_init(|| {
        // Refused where a test has a subscriber of its own.
        if tracing::dispatcher::set_global_default(dispatch).is_ok() && !cfg!(test) {
            std::panic::set_hook(Box::new(log_panic));
        }
        log
    });
    Ok(Telemetry { log: log.clone() })
}

impl Drop for Telemetry {
    fn drop(&mut self) {
        self.log.flush();
    }
}

/// Is this a level or a list of filters that [`start`] will take?
pub fn check_level(level: &str) -> Result<(), String> {
    filter(level).map(|_| ())
}

/// A bare level is meant for our own crates; the others say `info` and above at most.
fn filter(level: &str) -> Result<EnvFilter, String> {
    const OURS: [&str; 5] = ["shared", "gateway", "worker", "ecosystem", "rookery"];
    let directives = match level.to_ascii_lowercase().as_str() {
        level @ ("off" | "error" | "warn" | "info") => level.to_owned(),
        level @ ("debug" | "trace") => {
            OURS.iter().fold("info".to_owned(), |list, name| format!("{list},{name}={level}"))
        }
        _ => level.to_owned(),
    };
    let wrong = |error| format!("must be error, warn, info, debug, trace or filters like gateway=debug: {error}");
    let filter = EnvFilter::builder().parse(&directives).map_err(|error| wrong(error.to_string()))?;
    // A word that is no level is taken for the name of a crate, and would log everything of a crate that is not there.
    match level
        .split(',')
        .all(|part| part.contains('=') || part.trim().parse::<tracing::Level>().is_ok() || part.trim() == "off")
    {
        true => Ok(filter),
        false => Err(wrong(format!("{level:?} is no level"))),
    }
}

fn subscriber(config: &LogConfig) -> Result<(Dispatch, Arc<LogWriter>), ConfigError> {
    let filter = filter(&config.level).map_err(|problem| ConfigError { name: "LOG_LEVEL".into(), problem })?;
    let outputs =
        outputs(config).map_err(|error| ConfigError { name: "LOG_DIR".into(), problem: error.to_string() })?;
    let log = Arc::new(LogWriter::start(outputs));
    let text = (!config.json).then(|| {
        fmt::layer()
            .with_timer(Clock)
            .with_ansi(std::io::stderr().is_terminal())
            .with_writer(LineMaker::text(log.clone()))
    });
    let to_files = config.directory.is_some();
    let json = (config.json || to_files).then(|| {
        let lines = LineMaker::json(log.clone(), config.json, to_files, config.process.as_deref());
        // The span a line is in is enough: the list repeats it.
        fmt::layer().json().flatten_event(true).with_span_list(false).with_timer(Clock).with_writer(lines)
    });
    let layers = text.map(Layer::boxed).into_iter().chain(json.map(Layer::boxed)).collect::<Vec<_>>();
    let subscriber = tracing_subscriber::registry().with(layers).with(filter).with(filter_fn(says_no_message));
    Ok((Dispatch::new(subscriber), log))
}

/// RabbitMQ's driver logs the messages that come back with all that is in them. Whatever `LOG_LEVEL` asks for, it is not
/// heard; what fails there is an error that somebody handles, and logs.
fn says_no_message(line: &Metadata<'_>) -> bool {
    let rest = line.target().strip_prefix("lapin");
    !rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(':'))
}

fn outputs(config: &LogConfig) -> std::io::Result<Outputs> {
    let Some(directory) = &config.directory else { return Ok(Outputs::default()) };
    std::fs::create_dir_all(directory)?;
    let file = |name| RotatingFile::open(directory.join(name), config.file_bytes).map(Some);
    Ok(Outputs { combined: file("combined.log")?, errors: file("error.log")? })
}

/// In place of the default hook, whose lines would be no JSON and in no file.
fn log_panic(panic: &std::panic::PanicHookInfo<'_>) {
    let message = panic.payload_as_str().unwrap_or("(no message)");
    let location = panic.location().map(ToString::to_string).unwrap_or_default();
    let thread = std::thread::current();
    tracing::error!(
        panic.location = location,
        panic.thread = thread.name().unwrap_or("?"),
        panic.backtrace = %std::backtrace::Backtrace::capture(),
        "panic: {message}"
    );
}

struct Clock;

impl FormatTime for Clock {
    fn format_time(&self, to: &mut Writer<'_>) -> std::fmt::Result {
        to.write_str(&clock::text(clock::now()))
    }
}

#[cfg(test)]
mod tests;
