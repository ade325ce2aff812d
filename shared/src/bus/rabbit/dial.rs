//! How a connection to RabbitMQ is made: the address, the socket, TLS, the handshake, each within a bound; and how one
//! is ended at once. The driver's own way of ending waits for the broker, for ever where that does not answer, so the
//! socket below it is kept at hand.

use crate::config::Secret;
use lapin::{
    Connection, ConnectionProperties, Error,
    tcp::AsyncTcpStream,
    uri::{AMQPScheme, AMQPUri, AMQPUserInfo},
};
use socket2::SockRef;
use std::{
    io,
    net::{Shutdown, SocketAddr, TcpStream},
    os::fd::AsFd,
    sync::{Arc, OnceLock},
    time::Duration,
};
use tokio::time::timeout;

/// For the socket, with TLS; and for all of it.
const SOCKET_MAX: Duration = Duration::from_secs(2);
const HANDSHAKE_MAX: Duration = Duration::from_secs(5);
/// Bytes of a frame. The driver keeps 64 of these for each connection, and writes through all of them in turn.
const FRAME_MAX: u32 = 32 * 1024;

#[derive(Clone)]
pub(super) struct Dial {
    uri: AMQPUri,
    name: String,
}

impl Dial {
    /// `name` is what operators see in the broker's list of connections. An error says what is wrong with the address.
    pub fn new(url: &Secret, heartbeat: Duration, name: &str) -> Result<Self, String> {
        let mut uri = uri_of(url)?;
        uri.query.heartbeat = Some(heartbeat.as_secs().clamp(1, u64::from(u16::MAX)) as u16);
        uri.query.frame_max.get_or_insert(FRAME_MAX);
        Ok(Self { uri, name: format!("{name} {}", std::process::id()) })
    }

    pub async fn connect(&self) -> Result<(Connection, Line), Error> {
        let line = Line::default();
        let kept = line.clone();
        let connecting = Connection::connector(
            self.uri.clone(),
            lapin::runtime::default_runtime()?,
            async move |uri: AMQPUri, runtime| {
                let opening = async {
                    let host = uri.authority.host.as_str();
                    // Each time: a name may lead elsewhere by now.
                    let addresses: Vec<SocketAddr> =
                        tokio::net::lookup_host((host, uri.authority.port)).await?.collect();
                    // Without Nagle's delay: the driver's runtime sees to that.
                    let stream = AsyncTcpStream::connect(&runtime, addresses).await?;
                    if let AsyncTcpStream::Plain(plain) = &stream {
                        kept.hold(plain.get_ref())?;
                    }
                    match uri.scheme {
                        AMQPScheme::AMQP => Ok(stream),
                        // The system's certificates; `SSL_CERT_FILE` replaces them by a private authority's.
                        AMQPScheme::AMQPS => stream.into_tls(host, Default::default()).await,
                    }
                };
                Ok(timeout(SOCKET_MAX, opening).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?)
            },
            ConnectionProperties::default().with_connection_name(self.name.as_str().into()),
        );
        // Cut wherever this ends without a connection, given up by its caller too: the driver's thread waits on.
        let cutting = CutOnDrop(Some(line));
        let connection = timeout(HANDSHAKE_MAX, connecting)
            .await
            .unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut).into()))?;
        Ok((connection, cutting.keep()))
    }
}

/// Where a broker is, and as whom one comes to it.
pub struct Address {
    pub tls: bool,
    pub user: String,
    pub password: String,
    pub host: String,
    pub port: u16,
    pub vhost: String,
}

impl Address {
    /// An error says what is wrong with the address, without its password.
    pub fn of(url: &Secret) -> Result<Self, String> {
        let AMQPUri { scheme, authority, vhost, .. } = uri_of(url)?;
        let AMQPUserInfo { username: user, password } = authority.userinfo;
        let tls = matches!(scheme, AMQPScheme::AMQPS);
        Ok(Self { tls, user, password, host: authority.host, port: authority.port, vhost })
    }
}

fn uri_of(url: &Secret) -> Result<AMQPUri, String> {
    let url = url.expose();
    let mut uri: AMQPUri = url.parse().map_err(|error: String| error.replace(url, "(secret)"))?;
    // The driver's parser would take its default, localhost, for it.
    if let Some(address) = ipv6_host(url) {
        address.clone_into(&mut uri.authority.host);
    }
    // By the letter of the scheme `amqp://host/` names the host without a name, which nobody means.
    if uri.vhost.is_empty() {
        "/".clone_into(&mut uri.vhost);
    }
    Ok(uri)
}

/// `[…]` where a host stands, without the brackets.
fn ipv6_host(url: &str) -> Option<&str> {
    let authority = url.split_once("://")?.1.split(['/', '?', '#']).next()?;
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    host.strip_prefix('[')?.split_once(']').map(|(address, _)| address)
}

/// A second handle of a connection's socket.
#[derive(Clone, Default)]
pub(super) struct Line(Arc<OnceLock<TcpStream>>);

impl Line {
    fn hold(&self, socket: &impl AsFd) -> io::Result<()> {
        let _ = self.0.set(socket.as_fd().try_clone_to_owned()?.into());
        Ok(())
    }

    /// Ends the connection now, and drops what has not been sent yet: it would come late. Again is harmless.
    pub fn cut(&self) {
        if let Some(socket) = self.0.get() {
            let _ = SockRef::from(socket).set_linger(Some(Duration::ZERO));
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}

struct CutOnDrop(Option<Line>);

impl CutOnDrop {
    fn keep(mut self) -> Line {
        self.0.take().unwrap_or_default()
    }
}

impl Drop for CutOnDrop {
    fn drop(&mut self) {
        if let Some(line) = &self.0 {
            line.cut();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dial(url: &str) -> Result<Dial, String> {
        Dial::new(&Secret::new(url), Duration::from_secs(3), "test")
    }

    #[test]
    fn an_address_means_what_it_says() {
        for (url, host, port, vhost) in [
            ("amqp://rabbit.example", "rabbit.example", 5672, "/"),
            ("amqp://rabbit.example/", "rabbit.example", 5672, "/"),
            ("amqp://u:p@127.0.0.1:5673/chat", "127.0.0.1", 5673, "chat"),
            ("amqps://u:p%40%5B@[fd00::5]/chat%2Fa?heartbeat=60", "fd00::5", 5671, "chat/a"),
        ] {
            let uri = dial(url).unwrap().uri;
            assert_eq!((uri.authority.host.as_str(), uri.authority.port, uri.vhost.as_str()), (host, port, vhost));
            assert_eq!(uri.query.heartbeat, Some(3), "ours, whatever the address says");
        }
        let Address { tls, user, password, .. } = Address::of(&Secret::new("amqps://u:p%40%5B@[fd00::5]")).unwrap();
        assert_eq!((tls, user.as_str(), password.as_str()), (true, "u", "p@["));
    }

    #[test]
    fn a_wrong_address_is_an_error_without_its_password() {
        for wrong in ["amqp:canary", "amqp://u:canary@host:port/", "amqp://u:canary@host:99999", "http://u:canary@host"]
        {
            let error = dial(wrong).err().unwrap();
            assert!(!error.contains("canary"), "{error}");
        }
    }
}
