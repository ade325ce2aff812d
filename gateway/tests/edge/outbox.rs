//! What goes out: order, one write for many frames, slow peers, and the bounds on what waits for them.

use crate::harness::{Client, Edge, Note, PATIENCE, Told, text};
use gateway::shard::codec::append_text_frame;
use gateway::shard::{Class, Closed, Config, ConnId};
use std::time::{Duration, Instant};

/// Delivers events of 1 KiB to a peer that does not read, a hundred at a time, until the session layer is told something.
fn stuff(edge: &Edge, id: ConnId, until: impl Fn(Told) -> bool) {
    let padding = "x".repeat(1_000);
    let most = Config::default().outbox + (128 << 10);
    for _ in 0..1_000 {
        for _ in 0..100 {
            edge.event(&padding, Class::Durable, &[id]);
        }
        edge.shards.note(id, Note::Here);
        let (mut found, mut here) = (false, false);
        while !here && !found {
            let told = edge.until(Some);
            (found, here) = (until(told), told == Told::Here(id));
        }
        let waiting = edge.shards.counts().outboxes;
        assert!(waiting <= most, "{waiting} bytes wait");
        if found {
            return;
        }
    }
    panic!("100 MB went into a socket that nobody reads");
}

#[test]
fn a_peer_that_does_not_read_is_told_and_then_closed() {
    let config = Config { closing: Duration::from_millis(300), ..Config::default() };
    let edge = Edge::start(config);
    let (client, id) = edge.connect();
    stuff(&edge, id, |told| told == Told::Lagging(id));
    stuff(&edge, id, |told| told == Told::Closed(id, Closed::Us(4_000)));
    assert_eq!((edge.shards.counts().outboxes, edge.shards.counts().connections), (0, 0));
    drop(client);
}

#[test]
fn a_peer_that_does_not_catch_up_in_time_is_closed() {
    let lagging = Duration::from_millis(300);
    let edge = Edge::start(Config { lagging, closing: lagging, ..Config::default() });
    let (_client, id) = edge.connect();
    stuff(&edge, id, |told| told == Told::Lagging(id));
    // More than the kernel might still take.
    edge.event(&"x".repeat(150_000), Class::Durable, &[id]);
    assert_eq!(edge.closed(), Closed::Us(4_000));
}

#[test]
fn a_peer_that_catches_up_sees_whole_frames_then_resync_then_the_rest() {
    let edge = Edge::start(Config::default());
    let (mut client, id) = edge.connect();
    stuff(&edge, id, |told| told == Told::Lagging(id));
    edge.shards.note(id, Note::Count);
    let mut events: u64 = 0;
    let count = loop {
        let words = client.text();
        match &words[..] {
            "resync" => events += 1,
            _ if words.starts_with('x') => events += 1,
            count => break count.parse::<u64>().unwrap(),
        }
    };
    assert_eq!(count, events, "the count is of the events that went before it");
    // Caught up: as good as any other again.
    edge.event("fresh", Class::Durable, &[id]);
    assert_eq!(client.text(), "fresh");
    stuff(&edge, id, |told| told == Told::Lagging(id));
}

#[test]
fn ephemeral_events_are_dropped_at_half() {
    let edge = Edge::start(Config::default());
    let (mut client, id) = edge.connect();
    let padding = "t".repeat(1_000);
    for _ in 0..5_000 {
        edge.event(&padding, Class::Ephemeral, &[id]);
    }
    edge.event("durable", Class::Durable, &[id]);
    edge.shards.note(id, Note::Count);
    let mut events: u64 = 0;
    while client.text() != "durable" {
        events += 1;
    }
    assert_eq!(client.text(), (events + 1).to_string());
    assert!(edge.poll().is_none_or(|told| !matches!(told, Told::Lagging(_))), "an ephemeral event made it lag");
}

#[test]
fn all_outboxes_together_are_bounded() {
    let edge = Edge::start(Config { outboxes: 1 << 20, lagging: PATIENCE, ..Config::default() });
    let clients: Vec<(Client, ConnId)> = (0..20).map(|_| edge.connect()).collect();
    let ids: Vec<ConnId> = clients.iter().map(|(_, id)| *id).collect();
    let padding = "x".repeat(1_000);
    let deadline = Instant::now() + PATIENCE;
    loop {
        edge.event(&padding, Class::Durable, &ids);
        let waiting = edge.shards.counts().outboxes;
        // Two shards may each be one round over before they cut.
        assert!(waiting <= (1 << 20) + 2 * 20 * 66_000, "{waiting} bytes wait");
        if matches!(edge.poll(), Some(Told::Lagging(_))) {
            return;
        }
        assert!(Instant::now() < deadline, "the bound was never reached");
    }
}

#[test]
fn an_overfull_intake_is_told_and_not_forgotten() {
    let edge = Edge::start(Config { intake: 20_000, ..Config::default() });
    let (mut client, id) = edge.connect();
    let mut batch = Vec::new();
    for _ in 0..1_000 {
        let mut bytes = Vec::new();
        append_text_frame(&mut bytes, &[&[b'x'; 100]]);
        let to = [id].into();
        batch.push(gateway::shard::Delivery { bytes: bytes.into(), events: 1, class: Class::Durable, to });
    }
    edge.shards.deliver(batch);
    edge.until(|told| (told == Told::Lagging(id)).then_some(()));
    edge.shards.note(id, Note::Say("end"));
    let mut seen = Vec::new();
    while seen.last().is_none_or(|last| last != "end") {
        seen.push(client.text());
    }
    assert!(seen.len() < 300, "{} frames", seen.len());
    assert_eq!(seen[seen.len() - 2..], ["resync", "end"]);
}

#[test]
fn order_is_that_of_the_calls() {
    let edge = Edge::start(Config::default());
    let (mut client, id) = edge.connect();
    let (mut other, other_id) = edge.connect();
    for n in 0..2_000 {
        edge.event(&format!("{n}"), Class::Durable, &[other_id, id, other_id]);
        if n % 3 == 0 {
            edge.shards.note(id, Note::Say("note"));
        }
    }
    for n in 0..2_000 {
        assert_eq!(client.text(), n.to_string());
        if n % 3 == 0 {
            assert_eq!(client.text(), "note");
        }
        assert_eq!((other.text(), other.text()), (n.to_string(), n.to_string()));
    }
}

#[test]
fn a_paused_session_gets_nothing_until_it_resumes() {
    let edge = Edge::start(Config { heartbeat: Duration::from_millis(300), ..Config::default() });
    let (mut client, id) = edge.connect();
    client.send([text("one"), text("pause"), text("two"), text("three")].concat());
    client.send(text("four"));
    edge.messages(2);
    assert_eq!(client.text(), "one");
    // Four beats long nothing is heard from it, because nothing is read: it lives.
    for _ in 0..4 {
        let told = edge.until(Some);
        assert_eq!(told, Told::Beat(id));
    }
    edge.shards.note(id, Note::Resume);
    edge.messages(3);
    let mut echoed = Vec::new();
    while echoed.len() < 3 {
        let frame = client.frame().unwrap();
        if frame.opcode == 1 && frame.text() != "beat" {
            echoed.push(frame.text().to_owned());
        }
    }
    assert_eq!(echoed, ["two", "three", "four"]);
}

#[test]
fn a_paused_peer_is_held_back_by_the_kernel_not_by_memory() {
    let edge = Edge::start(Config::default());
    let (mut client, _) = edge.connect();
    client.send(text("pause"));
    edge.messages(1);
    client.socket.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
    let flood = text(&"x".repeat(60_000));
    while std::io::Write::write_all(&mut client.socket, &flood).is_ok() {}
    let inbound = edge.shards.counts().inbound;
    assert!(inbound <= Config::default().read_buffer + 1_024, "{inbound} bytes held back");
}
