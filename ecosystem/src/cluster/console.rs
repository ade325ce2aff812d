//! What the processes of a cluster say, on the launcher's own terminal: warnings and errors for a person, with the name of
//! who says it; everything, as it is, for a program (`LOG_FORMAT=json`). All of it is in the files anyway.
//!
//! Lines are written by a thread of their own: a stopped terminal must not stop who looks after the processes.

use crate::{log_line::LogLine, say};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};

/// Lines that wait for the terminal; more are left to the files.
const LINES_MAX: usize = 4096;
/// How long the end waits for the last of them.
const FLUSH: Duration = Duration::from_secs(1);

pub struct Console {
    lines: SyncSender<Said>,
    json: bool,
}

enum Said {
    Line(String),
    /// To be answered when everything before it is written.
    Flush(SyncSender<()>),
}

/// One process's way to it.
#[derive(Clone)]
pub struct Voice {
    lines: SyncSender<Said>,
    name: String,
    json: bool,
}

impl Console {
    pub fn start(json: bool) -> std::io::Result<Self> {
        let (lines, queue) = sync_channel(LINES_MAX);
        let write = move || {
            for said in queue {
                match said {
                    Said::Line(line) => say::aside(line),
                    Said::Flush(done) => drop(done.send(())),
                }
            }
        };
        std::thread::Builder::new().name("console".into()).spawn(write)?;
        Ok(Self { lines, json })
    }

    pub fn voice(&self, name: &str) -> Voice {
        Voice { lines: self.lines.clone(), name: name.to_owned(), json: self.json }
    }
}

/// Waits for what has been said, but not for a terminal that takes nothing.
impl Drop for Console {
    fn drop(&mut self) {
        let (done, written) = sync_channel(1);
        if self.lines.try_send(Said::Flush(done)).is_ok() {
            let _ = written.recv_timeout(FLUSH);
        }
    }
}

impl Voice {
    /// Until the process closes its end. Returns its last complaint, in one line.
    pub async fn pass_on(self, stderr: impl AsyncRead + Unpin) -> Option<String> {
        let (mut stderr, mut bytes, mut last) = (BufReader::new(stderr), Vec::new(), None);
        while stderr.read_until(b'\n', &mut bytes).await.is_ok_and(|read| read > 0) {
            let line = String::from_utf8_lossy(&bytes);
            let line = line.trim_end_matches('\n');
            let (shown, complaint) = self.render(line);
            last = complaint.or(last);
            if let Some(shown) = shown {
                // Full: a terminal that takes nothing. The files have it.
                drop(self.lines.try_send(Said::Line(shown)));
            }
            bytes.clear();
        }
        last
    }

    /// What is shown of a line, and what it complains of.
    fn render(&self, line: &str) -> (Option<String>, Option<String>) {
        let Some(parsed) = LogLine::parse(line) else {
            // No line of the log: words from before there was one, or a runtime's last ones.
            return (Some(format!("{}: {line}", self.name)), Some(line.trim_start_matches("rookery: ").to_owned()));
        };
        let readable = parsed.is_alarming().then(|| parsed.readable(&self.name));
        let complaint = parsed.is_alarming().then(|| parsed.message().to_owned());
        (if self.json { Some(line.to_owned()) } else { readable }, complaint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = r#"{"timestamp":"t","process":"gateway-1","level":"INFO","message":"joined"}"#;

    #[tokio::test]
    async fn a_person_sees_warnings_with_the_name_and_a_program_sees_all() {
        let console = Console::start(false).unwrap();
        let voice = console.voice("gateway-1");
        assert_eq!(voice.render(LINE), (None, None));
        let warning = LINE.replace("INFO", "WARN");
        assert_eq!(voice.render(&warning), (Some("t  WARN gateway-1 joined".into()), Some("joined".into())));
        let all = Voice { json: true, ..voice.clone() };
        assert_eq!(all.render(LINE), (Some(LINE.into()), None));
        let last = voice.pass_on(&b"rookery: PORT: no\n\xff"[..]).await;
        assert_eq!(last.as_deref(), Some("\u{fffd}"));
    }
}
