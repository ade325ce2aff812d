//! A network that fails: what goes through it is passed on, held back, cut off, or loses one answer.

use std::sync::Arc;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    Pass,
    /// Connections are taken and nothing arrives, until it passes again.
    Hold,
    /// Connections end.
    Cut,
    /// The next answer is thrown away with its connection; then it passes.
    LoseAnAnswer,
}

pub struct Proxy {
    pub port: u16,
    mode: Arc<watch::Sender<Mode>>,
}

impl Proxy {
    pub async fn start(to: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let mode = Arc::new(watch::Sender::new(Mode::Pass));
        let shared = mode.clone();
        tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                // Nobody may listen there: then the client is let down.
                let Ok(server) = TcpStream::connect(("127.0.0.1", to)).await else { continue };
                tokio::spawn(connection(client, server, shared.clone()));
            }
        });
        Self { port, mode }
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }

    pub async fn until(&self, mode: Mode) {
        self.mode.subscribe().wait_for(|now| *now == mode).await.unwrap();
    }
}

/// Both directions end together.
async fn connection(client: TcpStream, server: TcpStream, mode: Arc<watch::Sender<Mode>>) {
    let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
    let mut cut = mode.subscribe();
    tokio::select! {
        () = asking(from_client, to_server, mode.clone()) => {}
        () = answering(from_server, to_client, mode) => {}
        _ = cut.wait_for(|mode| *mode == Mode::Cut) => {}
    }
}

async fn asking(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mode: Arc<watch::Sender<Mode>>) {
    let (mut buffer, mut mode) = (vec![0; 64 * 1024], mode.subscribe());
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        mode.wait_for(|mode| *mode != Mode::Hold).await.unwrap();
        if to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}

async fn answering(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mode: Arc<watch::Sender<Mode>>) {
    let (mut buffer, mut now) = (vec![0; 64 * 1024], mode.subscribe());
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        now.wait_for(|mode| *mode != Mode::Hold).await.unwrap();
        let lost = mode.send_if_modified(|mode| match mode {
            Mode::LoseAnAnswer => {
                *mode = Mode::Pass;
                true
            }
            _ => false,
        });
        if lost || to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}
