//! Many client sockets: opening them (`dial`: connect, WebSocket handshake, hello) and living with them (`swarm`: one
//! epoll loop for all).
//!
//! Opening goes through tokio and tokio-tungstenite in waves; once the handshake is done the bare sockets move to the
//! swarm, which needs no runtime, no task and no buffer per socket.

pub mod dial;
#[cfg(test)]
pub mod fake;
pub mod swarm;

use crate::http::Server;
use crate::report::progress::Progress;
use crate::wire;
use anyhow::{Context, Result, bail};
use clap::Args;
use serde::Serialize;
use shared::clock;
use std::sync::Arc;
use std::time::Duration;
use swarm::Swarm;

/// Handshakes under way at once.
const WAVE: usize = 256;
/// The server closes a socket without hello after 10 s; its answer should not take longer either.
const HELLO_LIMIT: Duration = Duration::from_secs(10);
/// The request id of hello; commands are numbered from `FIRST_COMMAND`.
const HELLO: &[u8] = b"{\"re\":1,";
pub const FIRST_COMMAND: u64 = 16;

/// How sockets are opened and read.
#[derive(Args, Clone, Debug)]
#[group(skip)]
pub struct Options {
    /// Source addresses to connect from (127.0.0.2 and up; each has about 28,000 ports, and servers limit requests per address)
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u8).range(1..=250))]
    pub sources: u8,
    /// Who reads and writes the frames after the handshake
    #[arg(long, value_enum, default_value_t = wire::Kind::Bare)]
    pub wire: wire::Kind,
}

/// How the opening went.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Opened {
    pub sockets: usize,
    pub seconds: f64,
    /// Connected, upgraded and authenticated, per second.
    pub per_second: f64,
}

impl Opened {
    /// Both, one after the other.
    pub fn and(&self, next: &Self) -> Self {
        let (sockets, seconds) = (self.sockets + next.sockets, self.seconds + next.seconds);
        Self { sockets, seconds, per_second: sockets as f64 / seconds.max(1e-6) }
    }
}

/// Opens a socket with each of the tokens, in the given places of the swarm, and waits until every hello is answered.
pub fn open(
    runtime: &tokio::runtime::Runtime,
    swarm: &mut Swarm,
    server: &Server,
    options: &Options,
    wanted: &[(usize, Arc<str>)],
    progress: &Progress,
) -> Result<Opened> {
    let started = clock::monotonic();
    for wave in wanted.chunks(WAVE) {
        let streams = runtime.block_on(dial::dial(server, options.sources, wave))?;
        for ((place, _), stream) in wave.iter().zip(streams) {
            swarm.put(*place, stream, options.wire)?;
        }
        greet(swarm, wave)?;
        progress.add(wave.len());
    }
    let seconds = started.elapsed().as_secs_f64();
    Ok(Opened { sockets: wanted.len(), seconds, per_second: wanted.len() as f64 / seconds.max(1e-6) })
}

/// Says hello on each socket of the wave and waits for the answers.
fn greet(swarm: &mut Swarm, wave: &[(usize, Arc<str>)]) -> Result<()> {
    for (place, token) in wave {
        let hello = serde_json::json!({"id": 1, "cmd": "hello", "data": {"token": token.as_ref()}});
        swarm.send(*place, hello.to_string().as_bytes());
    }
    let deadline = clock::monotonic() + HELLO_LIMIT;
    let closed_before = swarm.tally.closed;
    let mut answered = 0;
    let mut refusal: Option<String> = None;
    while answered < wave.len() {
        let left = deadline.saturating_duration_since(clock::monotonic());
        swarm.poll(left.min(Duration::from_millis(100)), &mut |_, text, _| {
            if let Some(answer) = text.strip_prefix(HELLO) {
                answered += 1;
                if !answer.starts_with(b"\"ok\"") {
                    refusal.get_or_insert_with(|| String::from_utf8_lossy(text).into_owned());
                }
            }
        })?;
        if let Some(refusal) = refusal {
            bail!("hello was refused: {refusal}");
        }
        if swarm.tally.closed > closed_before {
            let why = swarm.tally.last_close.as_deref().context("cannot fail because a close was counted")?;
            bail!("the server closed a socket instead of answering hello: {why}");
        }
        if left.is_zero() {
            bail!("{} of {} hellos were not answered within 10 s", wave.len() - answered, wave.len());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
