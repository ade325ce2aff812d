//! Connects whoever asks, on a thread of its own: the TCP connection and the WebSocket handshake, from one of the source
//! addresses. What comes back is the bare socket, or why there is none.
//!
//! Bounds: so many handshakes at once as `AT_ONCE`, each at most as long as `socket::dial` says; everybody else waits here.

use crate::http::Server;
use crate::socket::dial;
use anyhow::{Context, Result};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use tokio::sync::Semaphore;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

const AT_ONCE: usize = 256;

pub type Dialled = (usize, Result<TcpStream>);

/// Ends with its owner.
pub struct Dialer {
    asked: UnboundedSender<usize>,
    pub dialled: Receiver<Dialled>,
}

impl Dialer {
    pub fn start(server: Server, sources: u8) -> Result<Self> {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting the runtime")?;
        let (asked, asking) = unbounded_channel();
        let (told, dialled) = channel();
        thread::Builder::new()
            .name("dialer".to_owned())
            .spawn(move || runtime.block_on(serve(asking, told, server, sources)))
            .context("starting the dialer")?;
        Ok(Self { asked, dialled })
    }

    /// For this place; the answer comes in `dialled`.
    pub fn dial(&self, place: usize) {
        self.asked.send(place).expect("cannot fail because the dialer lives as long as this");
    }
}

async fn serve(mut asking: UnboundedReceiver<usize>, told: Sender<Dialled>, server: Server, sources: u8) {
    let (server, permits) = (Arc::new(server), Arc::new(Semaphore::new(AT_ONCE)));
    while let Some(place) = asking.recv().await {
        let (server, told) = (server.clone(), told.clone());
        let permit = permits.clone().acquire_owned().await.expect("cannot fail because it is never closed");
        tokio::spawn(async move {
            let stream = dial::one(&server, sources, place).await;
            drop(permit);
            // Whoever asked may have ended meanwhile.
            let _ = told.send((place, stream));
        });
    }
}
