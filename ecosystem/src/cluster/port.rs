//! The port of a gateway: its own, or one that somebody has bound before and shares out among several. The second way a
//! gateway may die, come back or be replaced while the port takes connections all the time.

use anyhow::{Context, Result, bail};
use socket2::SockRef;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsFd;

/// Connections that the kernel holds until they are accepted.
pub const BACKLOG: i32 = 4096;

/// Where a gateway's listening socket comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Source {
    /// Bound by this process, from HOST and PORT
    Own,
    /// Its standard input: bound by who started it (systemd: `StandardInput=socket`)
    Stdin,
}

/// Must be called within a runtime.
pub fn open(source: Source, address: SocketAddr) -> Result<tokio::net::TcpListener> {
    match source {
        Source::Own => gateway::server::listen(address, BACKLOG).with_context(|| format!("cannot listen on {address}")),
        Source::Stdin => handed_over(std::io::stdin().as_fd()),
    }
}

/// The original stays open until the process ends; whoever else has the socket goes on with it.
fn handed_over(stdin: std::os::fd::BorrowedFd<'_>) -> Result<tokio::net::TcpListener> {
    let fd = stdin.try_clone_to_owned().context("there is no standard input")?;
    if !SockRef::from(&fd).is_listener().unwrap_or(false) {
        bail!("standard input is no listening socket: without --listener stdin a gateway binds HOST and PORT itself");
    }
    let listener = TcpListener::from(fd);
    listener.set_nonblocking(true).context("cannot use the listening socket")?;
    tokio::net::TcpListener::from_std(listener).context("cannot use the listening socket")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_a_listening_socket_is_taken() {
        let bound = TcpListener::bind("127.0.0.1:0").unwrap();
        let taken = handed_over(bound.as_fd()).unwrap();
        assert_eq!(taken.local_addr().unwrap(), bound.local_addr().unwrap());
        let client = std::net::TcpStream::connect(bound.local_addr().unwrap()).unwrap();
        taken.accept().await.unwrap();
        assert!(handed_over(client.as_fd()).is_err());
        assert!(handed_over(std::fs::File::open("/dev/null").unwrap().as_fd()).is_err());
    }
}
