//! The audit finds each fault that is put in, and nothing else.

use super::*;

const NAME: &str = "0190a1b2-0000-7000-8000-000000000001";

/// One room of two users with one socket each.
fn audit() -> Audit {
    let seats = Seats { rooms: vec![vec![0, 1]], sockets_per_user: 1 };
    let mut audit = Audit::new(&seats, &[NAME.to_owned()]);
    audit.begin(100);
    audit
}

/// Socket 0 gets messages with these seqs, socket 1 and the acknowledgements are whole from 5 to 9.
fn findings(seqs: &[u64], before_last: impl Fn(&mut Audit), open: bool) -> Findings {
    let mut audit = audit();
    for seq in 5..=9 {
        audit.acknowledged(seq, 0, seq);
        audit.delivered(1, NAME.as_bytes(), Some((seq, 0)), seq);
    }
    for (n, seq) in seqs.iter().enumerate() {
        if n + 1 == seqs.len() {
            before_last(&mut audit);
        }
        audit.delivered(0, NAME.as_bytes(), Some((*seq, 0)), *seq);
    }
    audit.finish(&|socket| open || socket != 0, &|_| 0)
}

fn plain(seqs: &[u64]) -> Findings {
    findings(seqs, |_| {}, true)
}

#[test]
fn a_whole_stream_is_clean() {
    assert_eq!(plain(&[5, 6, 7, 8, 9]), Findings::default());
}

#[test]
fn missing_messages_are_lost_wherever_they_are_missing() {
    assert_eq!(plain(&[5, 6, 8, 9]).lost, 1);
    assert_eq!(plain(&[6, 7, 8, 9]).lost, 1);
    assert_eq!(plain(&[5, 6]).lost, 3);
    assert_eq!(plain(&[]).lost, 5);
}

#[test]
fn doubles_and_order_breaks_are_told_apart() {
    assert_eq!(plain(&[5, 6, 6, 7, 8, 9]), Findings { doubled: 1, ..Findings::default() });
    assert_eq!(plain(&[5, 7, 6, 8, 9]), Findings { order_breaks: 1, ..Findings::default() });
    assert_eq!(plain(&[6, 5, 7, 8, 9]), Findings { order_breaks: 1, ..Findings::default() });
    assert_eq!(plain(&[8, 5, 7, 9]), Findings { order_breaks: 2, lost: 1, ..Findings::default() });
    assert_eq!(plain(&[5, 8, 6, 7, 6, 9]), Findings { order_breaks: 2, doubled: 1, ..Findings::default() });
}

#[test]
fn a_hole_that_was_announced_is_told() {
    let named = format!(r#","data":{{"conversation_ids":["{NAME}"]}}}}"#);
    let told = findings(&[5, 6, 9], |audit| audit.resync(0, named.as_bytes()), true);
    assert_eq!(told, Findings { told: 2, resyncs: 1, ..Findings::default() });
    let told = findings(&[5, 9], |audit| audit.resync(0, br#","data":{"conversation_ids":null}}"#), true);
    assert_eq!(told, Findings { told: 3, resyncs: 1, ..Findings::default() });
    let told = findings(&[8, 9], |_| {}, true);
    assert_eq!(told, Findings { lost: 3, ..Findings::default() });
    let told = findings(&[9], |audit| audit.resync(0, named.as_bytes()), true);
    assert_eq!(told, Findings { told: 4, resyncs: 1, ..Findings::default() });
    let other = findings(&[5, 9], |audit| audit.resync(0, br#","data":{"conversation_ids":[]}}"#), true);
    assert_eq!(other, Findings { lost: 3, resyncs: 1, ..Findings::default() });
}

#[test]
fn a_closed_socket_was_told() {
    assert_eq!(findings(&[5, 6], |_| {}, false), Findings { told: 3, ..Findings::default() });
}

#[test]
fn a_message_under_two_seqs_is_doubled() {
    let mut audit = audit();
    audit.acknowledged(1, 0, 1);
    audit.acknowledged(2, 0, 2);
    for socket in [0, 1] {
        audit.delivered(socket, NAME.as_bytes(), Some((1, 0)), 1);
        audit.delivered(socket, NAME.as_bytes(), Some((2, 0)), 2);
        audit.delivered(socket, NAME.as_bytes(), Some((2, 0)), 3);
    }
    assert_eq!(audit.finish(&|_| true, &|_| 0).doubled, 2);
}

#[test]
fn two_messages_under_one_seq_are_doubled() {
    let mut audit = audit();
    audit.acknowledged(1, 0, 1);
    audit.acknowledged(2, 0, 1);
    for socket in [0, 1] {
        audit.delivered(socket, NAME.as_bytes(), Some((1, 0)), 1);
    }
    assert_eq!(audit.finish(&|_| true, &|_| 0).doubled, 1);
}

#[test]
fn the_next_step_goes_on_where_the_last_ended() {
    let mut audit = audit();
    for step in 0..2 {
        audit.begin(10);
        for n in 0..5 {
            let seq = step * 5 + n + 1;
            audit.acknowledged(n, 0, seq);
            audit.delivered(0, NAME.as_bytes(), Some((n, 0)), seq);
            audit.delivered(1, NAME.as_bytes(), Some((n, 0)), seq);
        }
        assert_eq!(audit.finish(&|_| true, &|_| 0), Findings::default(), "step {step}");
    }
    audit.begin(10);
    audit.acknowledged(0, 0, 11);
    audit.delivered(0, NAME.as_bytes(), Some((0, 0)), 11);
    assert_eq!(audit.finish(&|_| true, &|_| 0).lost, 1);
}
