//! What happens by the clock, and what a panic does.

use crate::harness::{Edge, Note, Told, frame, text};
use gateway::shard::{Close, Closed, Config};
use std::time::Duration;

#[test]
fn a_beat_brings_ping_and_heartbeat_and_silence_ends() {
    let edge = Edge::start(Config { heartbeat: Duration::from_millis(300), ..Config::default() });
    let (mut client, id) = edge.connect();
    for _ in 0..4 {
        assert_eq!(client.frame().map(|frame| frame.opcode), Some(9));
        assert_eq!(client.text(), "beat");
        client.send(frame(true, 10, b""));
    }
    // Any byte counts as a sign of life; none for two beats is the end.
    assert_eq!(edge.closed(), Closed::Silent);
    drop(client);
    assert!(edge.shards.counts().connections == 0, "{id:?} is still there");
}

#[test]
fn a_session_may_set_a_deadline() {
    let edge = Edge::start(Config::default());
    let (_client, id) = edge.connect();
    edge.shards.note(id, Note::Deadline(Duration::from_secs(3_600)));
    edge.shards.note(id, Note::Deadline(Duration::from_millis(100)));
    edge.until(|told| (told == Told::Deadline(id)).then_some(()));
}

#[test]
fn a_close_that_is_not_answered_ends_all_the_same() {
    let edge = Edge::start(Config { closing: Duration::from_millis(300), ..Config::default() });
    let (mut client, id) = edge.connect();
    edge.shards.note(id, Note::Close(Close { code: 4_403, reason: "session ended" }));
    edge.shards.note(id, Note::Say("too late"));
    assert_eq!(client.closed(4_403), []);
    assert_eq!(edge.closed(), Closed::Us(4_403));
}

#[test]
fn a_panic_ends_its_session_and_no_other() {
    let edge = Edge::start(Config::default());
    let clients: Vec<_> = (0..4).map(|_| edge.connect()).collect();
    for (n, (mut client, id)) in clients.into_iter().enumerate() {
        match n {
            0 => client.send(text("panic")),
            1 => edge.shards.note(id, Note::Panic),
            _ => {
                client.send(text("alive"));
                assert_eq!(client.text(), "alive");
                continue;
            }
        }
        assert_eq!(client.frame().map(|frame| frame.payload[..2].to_vec()), Some(1011u16.to_be_bytes().to_vec()));
        drop(client);
        assert_eq!(edge.closed(), Closed::Us(1011));
    }
}

#[test]
fn a_note_to_nobody_is_harmless() {
    let edge = Edge::start(Config::default());
    let (client, gone) = edge.connect();
    drop(client);
    edge.closed();
    edge.shards.note(gone, Note::Say("anyone?"));
    // The slot has a new tenant; the old id does not reach it.
    let (mut client, id) = edge.connect();
    edge.shards.notes([(gone, Note::Say("anyone?")), (id, Note::Say("you"))]);
    assert_eq!(client.text(), "you");
    edge.shards.note_all(|_| Note::Say("all"));
    assert_eq!(client.text(), "all");
}
