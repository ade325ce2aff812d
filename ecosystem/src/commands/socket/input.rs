//! Standard input by lines, read by a thread of its own: a read of a terminal cannot be given up.

use anyhow::{Result, anyhow};
use shared::clock;
use shared::domain::FRAME_MAX;
use std::io::{BufRead, BufReader, Read};
use std::time::Instant;
use tokio::sync::mpsc::{Receiver, Sender, channel};

pub struct Input {
    lines: Receiver<Result<String>>,
    /// When it ended.
    pub ended: Option<Instant>,
}

impl Input {
    /// One line waits at most, and the thread is ahead by another.
    pub fn start() -> Self {
        let (say, lines) = channel(1);
        std::thread::spawn(move || read(&say));
        Self { lines, ended: None }
    }

    /// The next line; `None` is said once, at the end.
    pub async fn next(&mut self) -> Option<Result<String>> {
        if self.ended.is_some() {
            return std::future::pending().await;
        }
        let line = self.lines.recv().await;
        if line.is_none() {
            self.ended = Some(clock::monotonic());
        }
        line
    }
}

fn read(say: &Sender<Result<String>>) {
    let mut input = BufReader::new(std::io::stdin());
    loop {
        let mut line = String::new();
        let line = match input.by_ref().take(FRAME_MAX as u64 + 1).read_line(&mut line) {
            Ok(0) => return,
            Ok(bytes) if bytes > FRAME_MAX => Err(anyhow!("a line is longer than a frame may be (1 MiB)")),
            Ok(_) => Ok(line),
            Err(error) => Err(anyhow!(error).context("cannot read the input")),
        };
        let last = line.is_err();
        if say.blocking_send(line).is_err() || last {
            return;
        }
    }
}
