//! The frame reader and writer: against tungstenite at the other end, and cut at every byte.

use super::*;
use std::net::TcpListener;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_tungstenite::tungstenite::{Message, WebSocket};

fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (server, _) = listener.accept().unwrap();
    client.set_nodelay(true).unwrap();
    client.set_nonblocking(true).unwrap();
    server.set_nodelay(true).unwrap();
    (client, server)
}

#[test]
fn what_we_write_tungstenite_reads() {
    let (client, server) = pair();
    let mut server = WebSocket::from_raw_socket(server, Role::Server, None);
    let mut wire = Wire::new(Kind::Bare, client, 7);
    for length in [0, 1, 7, 8, 125, 126, 500, 65_535, 65_536] {
        let text = "ä".repeat(length / 2) + &"x".repeat(length % 2);
        assert_eq!(wire.send_text(text.as_bytes()).unwrap(), Sent::Written);
        assert_eq!(server.read().unwrap(), Message::text(text));
    }
}

#[test]
fn what_tungstenite_writes_we_read_both_ways() {
    for kind in [Kind::Bare, Kind::Tungstenite] {
        let (client, server) = pair();
        let mut server = WebSocket::from_raw_socket(server, Role::Server, None);
        let mut wire = Wire::new(kind, client, 7);
        let long = "y".repeat(70_000);
        for text in ["", "one", &long] {
            server.send(Message::text(text)).unwrap();
        }
        server.send(Message::Ping(vec![1, 2].into())).unwrap();
        server.close(None).unwrap();
        let mut seen = Vec::new();
        let mut scratch = vec![0; SCRATCH_BYTES];
        while !seen.iter().any(|what: &String| what.starts_with("close")) {
            let mut take = |frame: Frame<'_>, _| {
                seen.push(match frame {
                    Frame::Text(text) => format!("text {}", text.len()),
                    Frame::Ping(payload) => format!("ping {payload:?}"),
                    Frame::Pong => "pong".to_owned(),
                    Frame::Close(code) => format!("close {code}"),
                });
            };
            if wire.read(&mut scratch, &mut take).is_err() {
                break;
            }
        }
        assert_eq!(seen, ["text 0", "text 3", "text 70000", "ping [1, 2]", "close 1005"], "{kind:?}");
    }
}

#[test]
fn a_stream_cut_anywhere_gives_the_same_frames() {
    let mut bytes = vec![0x81, 2, b'h', b'i', 0x89, 0, 0x81, 126, 0, 200];
    bytes.extend(std::iter::repeat_n(b'z', 200));
    bytes.extend([0x88, 2, 0x03, 0xE8]);
    for cut in 0..bytes.len() {
        let (client, mut server) = pair();
        let mut wire = Wire::new(Kind::Bare, client, 7);
        let mut scratch = vec![0; 1024];
        let mut seen = Vec::new();
        for part in [&bytes[..cut], &bytes[cut..]].into_iter().filter(|part| !part.is_empty()) {
            server.write_all(part).unwrap();
            let mut came = 0;
            while came < part.len() {
                let mut take = |frame: Frame<'_>, _| seen.push(format!("{frame:?}").len());
                came += wire.read(&mut scratch, &mut take).unwrap();
            }
        }
        assert_eq!(seen.len(), 4, "cut at {cut}");
    }
}

#[test]
fn what_a_server_must_not_send_is_refused() {
    for bad in [[0x81, 0x80], [0xC1, 0], [0x01, 0], [0x82, 0]] {
        assert!(decode(&bad, 1024).is_err(), "{bad:?}");
    }
    assert!(decode(&[0x81, 127, 0, 0, 0, 0, 1, 0, 0, 0], 1024).is_err());
}
