//! The network between one process and one service, in the hand of the test: it forwards, or swallows everything, or is
//! not there. Each process has one of its own for each service, so that it can be cut off alone.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;

const BUFFER: usize = 64 * 1024;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    Forward,
    /// Connections are accepted and stay open, and nothing passes, the end of a connection neither. What was on its way
    /// arrives when this is over, as TCP has it.
    Blackhole,
    /// Every connection ends, and each new one at once.
    Cut,
}

/// Where a service really is.
#[derive(Clone, Debug)]
pub enum Target {
    Tcp(String),
    Unix(PathBuf),
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

impl Target {
    async fn connect(&self) -> io::Result<Box<dyn Stream>> {
        Ok(match self {
            Self::Tcp(address) => {
                let stream = TcpStream::connect(address).await?;
                stream.set_nodelay(true)?;
                Box::new(stream)
            }
            Self::Unix(path) => Box::new(UnixStream::connect(path).await?),
        })
    }
}

/// Ends with everything it carries when dropped.
pub struct Proxy {
    pub address: SocketAddr,
    mode: watch::Sender<Mode>,
    accepting: JoinHandle<()>,
}

impl Proxy {
    pub fn start(runtime: &Handle, target: Target) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let mode = watch::Sender::new(Mode::Forward);
        let modes = mode.subscribe();
        let accepting = runtime.spawn(async move {
            let listener = TcpListener::from_std(listener).unwrap();
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(carry(client, target.clone(), modes.clone()));
            }
        });
        Self { address, mode, accepting }
    }

    pub fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// One connection; a failure of either side ends both, as does the proxy's own end.
async fn carry(client: TcpStream, target: Target, modes: watch::Receiver<Mode>) {
    let mut cut = modes.clone();
    let both = async {
        passes(&mut modes.clone()).await?;
        let server = target.connect().await?;
        client.set_nodelay(true)?;
        let (client_reads, client_writes) = client.into_split();
        let (server_reads, server_writes) = tokio::io::split(server);
        tokio::try_join!(
            pump(client_reads, server_writes, modes.clone()),
            pump(server_reads, client_writes, modes.clone())
        )
    };
    tokio::select! {
        _ = both => {}
        _ = cut.wait_for(|mode| *mode == Mode::Cut) => {}
    }
}

async fn passes(modes: &mut watch::Receiver<Mode>) -> io::Result<()> {
    modes.wait_for(|mode| *mode == Mode::Forward).await.map(drop).map_err(io::Error::other)
}

async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut modes: watch::Receiver<Mode>,
) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    loop {
        let read = from.read(&mut buffer).await?;
        passes(&mut modes).await?;
        if read == 0 {
            return to.shutdown().await;
        }
        to.write_all(&buffer[..read]).await?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::time::timeout;

    /// Says everything back.
    async fn echo() -> Target {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut reads, mut writes) = stream.split();
                    tokio::io::copy(&mut reads, &mut writes).await
                });
            }
        });
        Target::Tcp(address)
    }

    async fn says(stream: &mut TcpStream, word: &[u8; 4]) -> [u8; 4] {
        stream.write_all(word).await.unwrap();
        heard(stream).await
    }

    async fn heard(stream: &mut TcpStream) -> [u8; 4] {
        let mut answer = [0; 4];
        stream.read_exact(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn a_blackhole_keeps_what_comes_and_the_connections() {
        let proxy = Proxy::start(&Handle::current(), echo().await);
        let mut before = TcpStream::connect(proxy.address).await.unwrap();
        assert_eq!(&says(&mut before, b"one.").await, b"one.");
        proxy.set(Mode::Blackhole);
        let mut within = TcpStream::connect(proxy.address).await.unwrap();
        for stream in [&mut before, &mut within] {
            stream.write_all(b"two.").await.unwrap();
            assert!(timeout(Duration::from_millis(50), heard(stream)).await.is_err(), "nothing comes");
        }
        proxy.set(Mode::Forward);
        assert_eq!((&heard(&mut before).await, &heard(&mut within).await), (b"two.", b"two."));
    }

    #[tokio::test]
    async fn what_is_cut_ends_and_new_ones_too_until_it_forwards() {
        let proxy = Proxy::start(&Handle::current(), echo().await);
        let mut before = TcpStream::connect(proxy.address).await.unwrap();
        assert_eq!(&says(&mut before, b"one.").await, b"one.");
        proxy.set(Mode::Cut);
        assert!(matches!(before.read(&mut [0; 4]).await, Ok(0) | Err(_)));
        let mut within = TcpStream::connect(proxy.address).await.unwrap();
        assert!(matches!(within.read(&mut [0; 4]).await, Ok(0) | Err(_)));
        proxy.set(Mode::Forward);
        let mut after = TcpStream::connect(proxy.address).await.unwrap();
        assert_eq!(&says(&mut after, b"two.").await, b"two.");
    }
}
