//! What comes in: refusals with their codes, fragments, pings, closes, and bytes that come with the handshake.

use crate::harness::{Client, Edge, PATIENCE, frame, text};
use futures_util::{SinkExt, StreamExt};
use gateway::shard::codec::Limits;
use gateway::shard::{Closed, Config};
use std::time::Duration;
use tokio_tungstenite::tungstenite::Message;

#[test]
fn what_breaks_the_protocol_is_closed_with_its_code() {
    let edge = Edge::start(Config::default());
    let fragments = |count: usize, size: usize| {
        let mut bytes = frame(false, 2, &vec![0; size]);
        (1..count).for_each(|_| bytes.extend(frame(false, 0, &vec![0; size])));
        bytes
    };
    let cases = [
        ("unmasked", vec![0x81, 0x02, b'h', b'i'], 1002),
        ("reserved bit", vec![0xC1, 0x80, 0, 0, 0, 0], 1002),
        ("reserved opcode", frame(true, 3, b""), 1002),
        ("ping over 125 bytes", frame(true, 9, &[0; 126]), 1002),
        ("pong over 125 bytes", frame(true, 10, &[0; 60_000]), 1002),
        ("close over 125 bytes", frame(true, 8, &[3; 202]), 1002),
        ("continuation of nothing", frame(true, 0, b"x"), 1002),
        ("close code not allowed", frame(true, 8, &1005u16.to_be_bytes()), 1002),
        ("bad UTF-8", frame(true, 1, &[b'a', 0xFF]), 1007),
        ("message over the limit", frame(true, 2, &vec![0; (1 << 20) + 1]), 1009),
        ("fragments over the limit in total", fragments(21, 50_000), 1009),
        ("1,025 fragments", fragments(1_025, 0), 1009),
    ];
    for (name, bytes, code) in cases {
        let (mut client, _) = edge.connect();
        // The server may hang up before it has read everything.
        let _ = std::io::Write::write_all(&mut client.socket, &bytes);
        let before = client.closed(code);
        assert!(before.is_empty(), "{name}: {before:?}");
        drop(client);
        assert_eq!(edge.closed(), Closed::Us(code), "{name}");
    }
}

#[test]
fn the_largest_of_everything_passes() {
    let edge = Edge::start(Config { outbox: 4 << 20, ..Config::default() });
    let (mut client, _) = edge.connect();
    let big = vec![7; 1 << 20];
    client.send(frame(true, 2, &big));
    assert_eq!(client.frame().map(|frame| frame.payload), Some(big));
    (0..1_024u32).for_each(|n| client.send(frame(n == 1_023, if n == 0 { 1 } else { 0 }, b"x")));
    assert_eq!(client.text(), "x".repeat(1_024));
}

#[test]
fn a_header_that_never_completes_ends() {
    let edge = Edge::start(Config { frame: Duration::from_millis(300), ..Config::default() });
    for start in [&[0x81][..], &[0x81, 0xFE, 1], &text("unfinished")[..9]] {
        let (mut client, _) = edge.connect();
        client.send(start);
        client.closed(1002);
        drop(client);
        assert_eq!(edge.closed(), Closed::Us(1002));
    }
}

#[test]
fn a_message_that_never_completes_ends_though_its_frames_do() {
    let edge = Edge::start(Config { message: Duration::from_millis(500), ..Config::default() });
    let (mut client, _) = edge.connect();
    client.send(frame(false, 1, b"once upon"));
    client.send(frame(true, 9, b"still here"));
    client.closed(1002);
}

#[test]
fn bytes_that_come_with_the_handshake_are_not_lost() {
    let edge = Edge::start(Config::default());
    let mut client = Client::connect(edge.address);
    let whole_and_half = [text("first"), text("second")[..5].to_vec()].concat();
    client.handshake(&whole_and_half);
    assert_eq!(client.text(), "first");
    client.send(&text("second")[5..]);
    assert_eq!(client.text(), "second");
}

#[test]
fn pings_are_answered_each_and_in_a_flood_the_latest() {
    let edge = Edge::start(Config::default());
    let (mut client, _) = edge.connect();
    client.send(frame(true, 9, b"once"));
    let pong = client.frame().unwrap();
    assert_eq!((pong.opcode, &pong.payload[..]), (10, &b"once"[..]));
    let flood: Vec<u8> = (0..5_000u32).flat_map(|n| frame(true, 9, &n.to_be_bytes())).collect();
    client.send([flood, text("after")].concat());
    let mut pongs = Vec::new();
    loop {
        let frame = client.frame().unwrap();
        if frame.opcode == 1 {
            break;
        }
        pongs.push(u32::from_be_bytes(frame.payload[..].try_into().unwrap()));
    }
    assert!(pongs.is_sorted() && pongs.last() == Some(&4_999), "{pongs:?}");
    assert!(pongs.len() < 1_000, "{} pongs for a flood", pongs.len());
}

#[test]
fn the_closing_handshake_is_ended_by_either_side() {
    let edge = Edge::start(Config::default());
    let (mut client, _) = edge.connect();
    client.send([text("last words"), frame(true, 8, &4_321u16.to_be_bytes()), text("unheard")].concat());
    assert_eq!(client.text(), "last words");
    client.closed(4_321);
    assert_eq!(edge.closed(), Closed::Peer(Some(4_321)));

    let (mut client, _) = edge.connect();
    client.send([text("said"), text("bye"), text("not echoed any more")].concat());
    assert_eq!(client.text(), "said");
    assert_eq!(client.frame().map(|frame| frame.opcode), Some(8));
    client.send(frame(true, 8, &4_400u16.to_be_bytes()));
    assert_eq!(client.frame(), None);
    assert_eq!(edge.closed(), Closed::Us(4_400));
}

#[test]
fn a_peer_that_hangs_up_or_half_closes_is_freed() {
    let edge = Edge::start(Config::default());
    let (client, _) = edge.connect();
    drop(client);
    assert_eq!(edge.closed(), Closed::Lost);
    let (mut client, _) = edge.connect();
    client.socket.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(edge.closed(), Closed::Lost);
    assert_eq!(client.frame(), None);
    assert_eq!(edge.shards.counts().connections, 0);
}

#[test]
fn unfinished_messages_of_all_together_are_bounded() {
    let edge = Edge::start(Config { inbound: 300_000, ..Config::default() });
    let half = &frame(true, 2, &vec![0; 400_000])[..200_000];
    let (mut first, _) = edge.connect();
    first.send(half);
    edge.until_counts(|counts| counts.inbound >= 200_000);
    let (mut second, _) = edge.connect();
    let _ = std::io::Write::write_all(&mut second.socket, half);
    second.closed(gateway::shard::OVERLOADED.code);
    drop((first, second));
    edge.closed();
    edge.closed();
    assert_eq!(edge.shards.counts().inbound, 0);
}

#[test]
fn a_well_behaved_client_is_served() {
    let edge = Edge::start(Config { limits: Limits { message: 1 << 20, fragments: 16 }, ..Config::default() });
    let talk = async {
        let (mut socket, _) = tokio_tungstenite::connect_async(format!("ws://{}/ws", edge.address)).await.unwrap();
        for size in [0, 1, 125, 126, 65_535, 65_536, 200_000] {
            socket.send(Message::text("é".repeat(size / 2))).await.unwrap();
            assert_eq!(socket.next().await.unwrap().unwrap(), Message::text("é".repeat(size / 2)));
        }
        socket.send(Message::binary(vec![0, 159, 146, 150])).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), Message::binary(vec![0, 159, 146, 150]));
        socket.send(Message::Ping("there?".into())).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), Message::Pong("there?".into()));
        socket.close(None).await.unwrap();
        while let Some(Ok(_)) = socket.next().await {}
    };
    edge.runtime.block_on(async { tokio::time::timeout(PATIENCE, talk).await.unwrap() });
    assert_eq!(edge.closed(), Closed::Peer(None));
}
