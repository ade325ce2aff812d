//! A door to a service that is closed at first: connections are refused, as where nothing listens. Opened, it leads there.

use socket2::{Domain, Socket, Type};
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::thread;

pub struct Door {
    /// Bound, so that nobody else gets the port meanwhile, and not listening.
    bound: Socket,
    target: Target,
    /// The service's URL, with the door in place of its own address.
    pub url: String,
}

#[derive(Clone, PartialEq, Debug)]
enum Target {
    Tcp(String),
    Unix(PathBuf),
}

impl Door {
    pub fn closed(url: &str) -> Self {
        let bound = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        bound.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        let address = bound.local_addr().unwrap().as_socket().unwrap();
        let (target, url) = through(url, &address.to_string());
        Self { bound, target, url }
    }

    /// For as long as the test runs.
    pub fn open(self) {
        self.bound.listen(64).unwrap();
        let listener = TcpListener::from(self.bound);
        thread::spawn(move || {
            while let Ok((client, _)) = listener.accept() {
                match &self.target {
                    Target::Tcp(address) => {
                        let server = TcpStream::connect(address).unwrap();
                        carry(client.try_clone().unwrap(), server.try_clone().unwrap(), |server| {
                            server.shutdown(Shutdown::Write)
                        });
                        carry(server, client, |client| client.shutdown(Shutdown::Write));
                    }
                    Target::Unix(path) => {
                        let server = UnixStream::connect(path).unwrap();
                        carry(client.try_clone().unwrap(), server.try_clone().unwrap(), |server| {
                            server.shutdown(Shutdown::Write)
                        });
                        carry(server, client, |client| client.shutdown(Shutdown::Write));
                    }
                }
            }
        });
    }
}

/// One direction, to its end.
fn carry<W: Write + Send + 'static>(
    mut from: impl Read + Send + 'static,
    mut to: W,
    end: impl FnOnce(&W) -> io::Result<()> + Send + 'static,
) {
    thread::spawn(move || {
        drop(io::copy(&mut from, &mut to));
        drop(end(&to));
    });
}

/// Where a URL leads, and the same URL by another address.
fn through(url: &str, door: &str) -> (Target, String) {
    let (scheme, rest) = url.split_once("://").unwrap();
    if scheme == "redis+unix" {
        return (Target::Unix(decoded(rest)), format!("redis://{door}"));
    }
    let at = rest.rfind('@').map_or(0, |at| at + 1);
    let (user, rest) = rest.split_at(at);
    let (host, tail) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let target = match host.starts_with('%') {
        true => Target::Unix(decoded(host).join(".s.PGSQL.5432")),
        false => Target::Tcp(host.to_owned()),
    };
    (target, format!("{scheme}://{user}{door}{tail}"))
}

/// Percent-encoding taken back.
fn decoded(text: &str) -> PathBuf {
    let mut parts = text.split('%');
    let mut bytes = parts.next().unwrap().as_bytes().to_vec();
    for part in parts {
        bytes.push(u8::from_str_radix(&part[..2], 16).unwrap());
        bytes.extend_from_slice(&part.as_bytes()[2..]);
    }
    String::from_utf8(bytes).unwrap().into()
}

#[test]
fn urls_of_every_kind_lead_through_a_door() {
    let tcp = |address: &str| Target::Tcp(address.to_owned());
    let unix = |path: &str| Target::Unix(path.into());
    let door = |url| through(url, "door:1");
    assert_eq!(door("postgres://u@h:5/db?a=b"), (tcp("h:5"), "postgres://u@door:1/db?a=b".into()));
    assert_eq!(door("postgres://u@%2Fa%2Fb/db"), (unix("/a/b/.s.PGSQL.5432"), "postgres://u@door:1/db".into()));
    assert_eq!(door("redis://h:6"), (tcp("h:6"), "redis://door:1".into()));
    assert_eq!(door("redis+unix:///a%20b/redis.sock"), (unix("/a b/redis.sock"), "redis://door:1".into()));
    assert_eq!(door("amqp://u:p@h:7/v"), (tcp("h:7"), "amqp://u:p@door:1/v".into()));
}
