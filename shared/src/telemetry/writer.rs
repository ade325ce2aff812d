//! The way of a line: formatted by who logs, queued, written by one thread to terminal and files.

use super::files::RotatingFile;
use crate::clock;
use metrics::counter;
use std::{
    io::{self, Write},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    thread,
    time::Duration,
};
use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

/// Lines, and their bytes, that may wait for the thread. Beyond either a line is dropped and counted.
const QUEUE_LINES_MAX: usize = 8192;
const QUEUE_BYTES_MAX: usize = 8 * 1024 * 1024;
/// How long the end of a program waits for its last lines.
const FLUSH: Duration = Duration::from_secs(2);

/// The files, where there are any; the terminal is always there.
#[derive(Default)]
pub(super) struct Outputs {
    pub combined: Option<RotatingFile>,
    pub errors: Option<RotatingFile>,
}

#[derive(Clone, Copy)]
struct To {
    terminal: bool,
    combined: bool,
    errors: bool,
}

enum Message {
    Line(To, Vec<u8>),
    Flush(SyncSender<()>),
}

#[derive(Default)]
struct Pressure {
    waiting_bytes: AtomicUsize,
    dropped: AtomicU64,
}

pub(super) struct LogWriter {
    queue: SyncSender<Message>,
    pressure: Arc<Pressure>,
}

impl LogWriter {
    pub fn start(outputs: Outputs) -> Self {
        let (queue, lines) = sync_channel(QUEUE_LINES_MAX);
        let pressure = Arc::new(Pressure::default());
        let there = pressure.clone();
        let thread = thread::Builder::new().name("log".into()).spawn(move || write_lines(&lines, outputs, &there));
        if thread.is_err() {
            // The receiver is gone with it: every line is counted as dropped.
            counter!("rookery_log_writer_missing_total").increment(1);
        }
        Self { queue, pressure }
    }

    fn line(&self, to: To, text: Vec<u8>) {
        let bytes = text.len();
        let waiting = self.pressure.waiting_bytes.fetch_add(bytes, Ordering::Relaxed);
        if waiting + bytes > QUEUE_BYTES_MAX || self.queue.try_send(Message::Line(to, text)).is_err() {
            self.pressure.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
            self.pressure.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Returns when what was logged before is written, or when that takes too long.
    pub fn flush(&self) {
        let deadline = clock::monotonic() + FLUSH;
        let (done, written) = sync_channel(1);
        let mut message = Message::Flush(done);
        while let Err(TrySendError::Full(again)) = self.queue.try_send(message) {
            if clock::monotonic() >= deadline {
                return;
            }
            message = again;
            thread::sleep(Duration::from_millis(5));
        }
        let _ = written.recv_timeout(deadline.saturating_duration_since(clock::monotonic()));
    }
}

fn write_lines(lines: &Receiver<Message>, mut outputs: Outputs, pressure: &Pressure) {
    let failed = counter!("rookery_log_dropped_total", "why" => "write");
    let dropped = counter!("rookery_log_dropped_total", "why" => "queue");
    while let Ok(message) = lines.recv() {
        match message {
            Message::Line(to, text) => {
                failed.increment(write(&mut outputs, to, &text));
                pressure.waiting_bytes.fetch_sub(text.len(), Ordering::Relaxed);
            }
            Message::Flush(done) => drop(done.send(())),
        }
        let count = pressure.dropped.swap(0, Ordering::Relaxed);
        if count > 0 {
            dropped.increment(count);
            let time = clock::text(clock::now());
            let line = format!(
                r#"{{"timestamp":"{time}","level":"WARN","message":"log lines were dropped","lines":{count}}}"#
            );
            write(&mut outputs, To { terminal: true, combined: true, errors: false }, format!("{line}\n").as_bytes());
        }
    }
}

/// To how many of its places the line could not be written.
fn write(outputs: &mut Outputs, to: To, text: &[u8]) -> u64 {
    let mut failed = 0;
    // A terminal that has gone away takes nothing with it: the files may still be there.
    if to.terminal && io::stderr().lock().write_all(text).is_err() {
        failed += 1;
    }
    for (wanted, file) in [(to.combined, &mut outputs.combined), (to.errors, &mut outputs.errors)] {
        if let Some(file) = file
            && wanted
            && file.write(text).is_err()
        {
            failed += 1;
        }
    }
    failed
}

/// Gives the subscriber's layers something to write a line to.
pub(super) struct LineMaker {
    log: Arc<LogWriter>,
    terminal: bool,
    files: bool,
    text: bool,
    /// The process as a field, ready to be put into a line: `"process":"gateway-1",`.
    process: Vec<u8>,
}

impl LineMaker {
    pub fn text(log: Arc<LogWriter>) -> Self {
        Self { log, terminal: true, files: false, text: true, process: Vec::new() }
    }

    /// `process` is a name that needs no quoting (`config` sees to it).
    pub fn json(log: Arc<LogWriter>, terminal: bool, files: bool, process: Option<&str>) -> Self {
        let process = process.map(|name| format!(r#""process":"{name}","#).into_bytes()).unwrap_or_default();
        Self { log, terminal, files, text: false, process }
    }
}

pub(super) struct LineWriter<'a> {
    maker: &'a LineMaker,
    errors: bool,
}

impl<'a> MakeWriter<'a> for LineMaker {
    type Writer = LineWriter<'a>;

    fn make_writer(&'a self) -> LineWriter<'a> {
        LineWriter { maker: self, errors: false }
    }

    fn make_writer_for(&'a self, meta: &Metadata<'_>) -> LineWriter<'a> {
        LineWriter { maker: self, errors: self.files && *meta.level() == Level::ERROR }
    }
}

impl Write for LineWriter<'_> {
    /// The layers write a whole line at once.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let to = To { terminal: self.maker.terminal, combined: self.maker.files, errors: self.errors };
        self.maker.log.line(to, if self.maker.text { one_line(line) } else { named(line, &self.maker.process) });
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A JSON line with the process after its first field, the time; the layer has no place for what all lines have.
fn named(line: &[u8], process: &[u8]) -> Vec<u8> {
    let at = line.iter().position(|byte| *byte == b',').map_or(0, |comma| comma + 1);
    [&line[..at], if at == 0 { b"" } else { process }, &line[at..]].concat()
}

/// What somebody else wrote into a field must not look like a line of ours, nor move a terminal's cursor. Escape itself
/// is the colours'; in fields the formatter has already made it visible.
fn one_line(line: &[u8]) -> Vec<u8> {
    let (body, end) = line.strip_suffix(b"\n").map_or((line, &b""[..]), |body| (body, b"\n"));
    let mut text = Vec::with_capacity(line.len());
    for byte in body {
        match byte {
            b'\n' => text.extend_from_slice(b"\\n"),
            b'\t' | 0x1b => text.push(*byte),
            0..0x20 | 0x7f => text.extend_from_slice(format!("\\x{byte:02x}").as_bytes()),
            _ => text.push(*byte),
        }
    }
    text.extend_from_slice(end);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_stays_one_line() {
        assert_eq!(one_line(b"a\nb\r\x08c\n"), b"a\\nb\\x0d\\x08c\n");
        assert_eq!(one_line("ä\tö".as_bytes()), "ä\tö".as_bytes());
    }

    #[test]
    fn a_line_tells_its_process() {
        let line = br#"{"timestamp":"t","level":"INFO"}"#;
        assert_eq!(
            named(line, br#""process":"gateway-1","#),
            br#"{"timestamp":"t","process":"gateway-1","level":"INFO"}"#
        );
        assert_eq!(named(line, b""), line);
        assert_eq!(named(b"{}", br#""process":"x","#), b"{}");
    }

    #[test]
    fn what_does_not_fit_is_dropped_and_counted() {
        let (queue, _lines) = sync_channel(2);
        let log = LogWriter { queue, pressure: Arc::new(Pressure::default()) };
        let to = To { terminal: false, combined: true, errors: false };
        log.line(to, vec![0; QUEUE_BYTES_MAX + 1]);
        assert_eq!(log.pressure.dropped.load(Ordering::Relaxed), 1);
        for _ in 0..3 {
            log.line(to, vec![0; 10]);
        }
        assert_eq!(log.pressure.dropped.load(Ordering::Relaxed), 2);
        assert_eq!(log.pressure.waiting_bytes.load(Ordering::Relaxed), 20);
    }
}
