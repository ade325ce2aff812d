//! The same connection driven by tungstenite's protocol, to say what its framing costs this process.

use super::{Frame, Sent};
use shared::clock;
use std::io;
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Instant;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message, WebSocket};

/// tungstenite over a non-blocking socket.
pub struct Framed {
    socket: WebSocket<TcpStream>,
}

impl Framed {
    pub fn new(stream: TcpStream) -> Self {
        Self { socket: WebSocket::from_raw_socket(stream, Role::Client, Some(config())) }
    }

    pub fn read(&mut self, take: &mut dyn FnMut(Frame<'_>, Instant)) -> io::Result<usize> {
        let mut came = 0;
        loop {
            let message = match self.socket.read() {
                Ok(message) => message,
                Err(Error::Io(e)) if e.kind() == io::ErrorKind::WouldBlock => return Ok(came),
                Err(Error::Io(e)) => return Err(e),
                Err(e) => return Err(io::Error::new(io::ErrorKind::InvalidData, e)),
            };
            came += message.len();
            let at = clock::monotonic();
            match &message {
                Message::Text(text) => take(Frame::Text(text.as_bytes()), at),
                Message::Ping(payload) => take(Frame::Ping(payload), at),
                Message::Pong(_) => take(Frame::Pong, at),
                Message::Close(close) => take(Frame::Close(close.as_ref().map_or(1005, |c| c.code.into())), at),
                Message::Binary(_) | Message::Frame(_) => {
                    return Err(io::Error::new(io::ErrorKind::InvalidData, "a frame of an unexpected kind"));
                }
            }
        }
    }

    pub fn send_text(&mut self, text: &[u8]) -> io::Result<Sent> {
        let text = String::from_utf8(text.to_vec()).map_err(|e| io::Error::new(io::ErrorKind::InvalidInput, e))?;
        settle(self.socket.send(Message::text(text)))
    }

    pub fn flush(&mut self) -> io::Result<Sent> {
        settle(self.socket.flush())
    }
}

impl AsFd for Framed {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.get_ref().as_fd()
    }
}

/// 4 KiB to read with: the default of 128 KiB would be touched for every socket.
pub fn config() -> WebSocketConfig {
    WebSocketConfig::default().read_buffer_size(4096).max_write_buffer_size(1024 * 1024)
}

fn settle(outcome: Result<(), Error>) -> io::Result<Sent> {
    match outcome {
        Ok(()) => Ok(Sent::Written),
        Err(Error::Io(e)) if e.kind() == io::ErrorKind::WouldBlock => Ok(Sent::Pending),
        Err(Error::Io(e)) => Err(e),
        Err(e) => Err(io::Error::new(io::ErrorKind::InvalidData, e)),
    }
}
