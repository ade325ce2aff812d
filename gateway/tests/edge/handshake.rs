//! HTTP before the socket: what is refused and how, what is too slow or too big, and how a server stops.

use crate::harness::{Client, Edge, HANDSHAKE, PATIENCE};
use gateway::server;
use gateway::shard::{Close, Closed, Config};
use std::io::ErrorKind;
use std::time::{Duration, Instant};

fn answer(edge: &Edge, request: &str) -> String {
    let mut client = Client::connect(edge.address);
    client.send(request);
    client.head()
}

#[test]
fn a_handshake_that_is_not_right_is_refused() {
    let edge = Edge::start(Config::default());
    let cases = [
        ("GET", "POST", "405", "allow: GET"),
        ("Connection: Upgrade", "Connection: close", "426", "upgrade: websocket"),
        ("Upgrade: websocket", "Upgrade: h2c", "426", "upgrade: websocket"),
        ("Version: 13", "Version: 8", "426", "sec-websocket-version: 13"),
        ("dGhlIHNhbXBsZSBub25jZQ==", "AAAA", "400", ""),
        ("Host: test", "Host: test\r\nOrigin: https://evil.test", "403", ""),
        ("Host: test", "Host: test\r\nSec-WebSocket-Protocol: chat", "400", ""),
    ];
    for (from, to, status, header) in cases {
        let head = answer(&edge, &HANDSHAKE.replacen(from, to, 1));
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{to}: {head}");
        assert!(head.contains(header), "{to}: {head}");
    }
    let offered = "Host: test\r\nOrigin: https://app.test\r\nSec-WebSocket-Protocol: chat, rookery.v1";
    let head = answer(&edge, &HANDSHAKE.replacen("Host: test", offered, 1));
    assert!(head.starts_with("HTTP/1.1 101 ") && head.contains("sec-websocket-protocol: rookery.v1\r\n"), "{head}");
}

#[test]
fn compression_is_not_agreed_to() {
    let edge = Edge::start(Config::default());
    let offer = "Host: test\r\nSec-WebSocket-Extensions: permessage-deflate; client_max_window_bits";
    let head = answer(&edge, &HANDSHAKE.replacen("Host: test", offer, 1));
    assert!(head.starts_with("HTTP/1.1 101 ") && !head.contains("sec-websocket-extensions"), "{head}");
}

/// Requests that two programs in a row may understand as two different ones.
#[test]
fn ambiguous_requests_are_refused() {
    let edge = Edge::start(Config::default());
    let ambiguous = [
        "Content-Length: 3\r\nContent-Length: 4",
        "Content-Length: +3",
        "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding: xchunked",
        "Folded: a\r\n b",
        "Spaced : a",
    ];
    for headers in ambiguous {
        let head = answer(&edge, &format!("POST /who HTTP/1.1\r\nHost: test\r\n{headers}\r\n\r\nabcd"));
        assert!(head.starts_with("HTTP/1.1 400 "), "{headers}: {head}");
    }
}

#[test]
fn headers_are_bounded_in_size_and_number() {
    let edge = Edge::start(Config::default());
    let long = format!("Host: test\r\nX-Long: {}", "x".repeat(20_000));
    let many: String = (0..80).map(|n| format!("\r\nX-{n}: y")).collect();
    for extra in [long, format!("Host: test{many}")] {
        let head = answer(&edge, &HANDSHAKE.replacen("Host: test", &extra, 1));
        assert!(head.starts_with("HTTP/1.1 431 "), "{head}");
    }
}

#[test]
fn a_slow_handshake_is_cut_off() {
    let server = server::Config { header_time: Duration::from_millis(300), ..server::Config::default() };
    let edge = Edge::start_with(Config::default(), server);
    let start = Instant::now();
    let mut silent = Client::connect(edge.address);
    let mut half = Client::connect(edge.address);
    half.send(&HANDSHAKE[..60]);
    let mut dripping = Client::connect(edge.address);
    for byte in HANDSHAKE.as_bytes() {
        if std::io::Write::write_all(&mut dripping.socket, &[*byte]).is_err() {
            break;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    for client in [&mut silent, &mut half, &mut dripping] {
        while client.more() {}
    }
    assert!(start.elapsed() >= Duration::from_millis(300));
    // One in time is not affected.
    edge.connect();
}

/// Answers that nobody reads do not hold a connection for ever: anybody could take all there are.
#[test]
fn who_does_not_read_his_answers_is_cut_off() {
    let server = server::Config { unread_time: Duration::from_secs(1), ..server::Config::default() };
    let edge = Edge::start_with(Config::default(), server);
    let mut deaf = Client::connect(edge.address);
    let asked = "GET /nowhere HTTP/1.1\r\nHost: test\r\n\r\n".repeat(1000);
    deaf.socket.set_write_timeout(Some(PATIENCE)).unwrap();
    // As much as both machines' buffers take, and on until the connection is gone.
    let error = loop {
        if let Err(error) = std::io::Write::write_all(&mut deaf.socket, asked.as_bytes()) {
            break error;
        }
    };
    assert!(!matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{error}");
}

#[test]
fn connections_are_capped_sockets_included() {
    let server = server::Config { connections: 2, ..server::Config::default() };
    let edge = Edge::start_with(Config::default(), server);
    let (first, _) = edge.connect();
    let (second, _) = edge.connect();
    let mut third = Client::connect(edge.address);
    assert!(!third.more());
    drop(first);
    assert_eq!(edge.closed(), Closed::Lost);
    edge.connect();
    drop(second);
}

#[test]
fn handlers_know_the_peer() {
    let edge = Edge::start(Config::default());
    let mut client = Client::connect(edge.address);
    let address = client.socket.local_addr().unwrap().to_string();
    client.send("GET /who HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
    let head = client.head();
    assert!(
        head.starts_with("HTTP/1.1 200 ") && head.contains(&format!("content-length: {}", address.len())),
        "{head}"
    );
}

#[test]
fn a_stop_lets_requests_in_flight_finish_and_leaves_sockets_to_their_shards() {
    let mut edge = Edge::start(Config::default());
    let (mut socket, _) = edge.connect();
    let mut request = Client::connect(edge.address);
    request.send("GET /slow HTTP/1.1\r\nHost: test\r\n\r\n");
    // In flight for sure: the listener takes connections one after another, and this one comes later.
    edge.connect();
    edge.stop.cancel();
    assert!(request.head().starts_with("HTTP/1.1 200 "));
    edge.runtime.block_on(&mut edge.server).unwrap();
    assert!(std::net::TcpStream::connect(edge.address).is_err());
    socket.send(crate::harness::text("still here"));
    assert_eq!(socket.text(), "still here");

    edge.shards.stop(Close { code: 1012, reason: "restart" });
    assert_eq!(socket.frame().map(|frame| frame.opcode), Some(8));
    drop(socket);
    edge.shards.join();
    assert_eq!(edge.shards.counts().connections, 0);
}
