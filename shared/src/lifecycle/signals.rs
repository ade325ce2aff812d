//! SIGTERM, SIGINT and SIGHUP as the two stages of a stop.

use super::Stop;
use std::{io, time::Duration};
use tokio::signal::unix::{SignalKind, signal};

/// What a program ended by a second signal exits with: as a shell says of one that Ctrl-C ended.
pub const EXIT_INTERRUPTED: i32 = 130;
/// After the second signal everything has this long to end by itself.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// From now on the first signal stops softly, the second ends the process: hard stop, a moment to notice it, exit.
/// `first` is called at the first one, to tell whoever watches. Returns what to spawn.
///
/// Fails where signals cannot be had, which only a broken system does.
pub fn listen(stop: Stop, first: impl FnOnce() + Send + 'static) -> io::Result<impl Future<Output = ()> + Send> {
    let (mut terminate, mut interrupt, mut hang_up) =
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?, signal(SignalKind::hangup())?);
    let mut next = async move || {
        tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
            _ = hang_up.recv() => "SIGHUP",
        }
    };
    Ok(async move {
        let name = next().await;
        tracing::info!(signal = name, "stopping");
        first();
        stop.soft();
        let name = next().await;
        tracing::warn!(signal = name, "ending at once");
        stop.hard();
        tokio::time::sleep(LAST_WORDS).await;
        std::process::exit(EXIT_INTERRUPTED);
    })
}
