//! Whole runs of `rooms` against the fake server: clean, and with each fault.

use super::*;
use crate::socket::fake::{Fake, Fault};
use clap::Parser;

#[derive(Parser)]
#[command(args_override_self = true)]
struct Rooms {
    #[command(flatten)]
    options: Options,
}

fn rooms(fault: Fault, more: &[&str]) -> Report {
    let fake = Fake::start(fault);
    let url = fake.url();
    let line =
        ["rooms", "--url", &url, "--rooms", "4", "--members", "3", "--rate", "60", "--seconds", "1", "--warmup", "0"];
    let options = Rooms::parse_from(line.iter().chain(more)).options;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut world = World::open(&options.setup, options.socket.sources).unwrap();
    run(&runtime, &options, &mut world).unwrap()
}

fn outcome(report: &Report) -> &Outcome {
    match &report.steps {
        Steps::Fixed(outcome) => outcome,
        Steps::Ladder(_) => panic!("a fixed rate was asked for"),
    }
}

#[test]
fn a_clean_run_is_clean_on_both_wires() {
    for wire in ["bare", "tungstenite"] {
        let report = rooms(Fault::None, &["--wire", wire]);
        let outcome = outcome(&report);
        assert_eq!((outcome.sent, outcome.stored, outcome.delivered), (60, 60, 180), "{outcome:?}");
        assert_eq!(outcome.findings, audit::Findings::default());
        assert!(outcome.sustained() && !report.verdict().broken, "{outcome:?}");
        assert_eq!((outcome.ack.count, outcome.delivery.count), (60, 180));
        assert!(outcome.ack.p50_ms > 0.0 && outcome.delivery.max_ms < 1_000.0, "{outcome:?}");
    }
}

#[test]
fn few_users_in_many_rooms_with_several_sockets() {
    let report = rooms(Fault::None, &["--users", "3", "--sockets-per-user", "2"]);
    let outcome = outcome(&report);
    assert_eq!((report.users, report.sockets), (3, 6));
    assert_eq!((outcome.stored, outcome.delivered), (60, 360), "{outcome:?}");
    assert_eq!(outcome.findings, audit::Findings::default());
}

#[test]
fn each_fault_is_found() {
    let found = |fault| outcome(&rooms(fault, &[])).findings.clone();
    let clean = audit::Findings::default;
    assert_eq!(found(Fault::Lose), audit::Findings { lost: 1, ..clean() });
    assert_eq!(found(Fault::Double), audit::Findings { doubled: 1, ..clean() });
    assert_eq!(found(Fault::Swap), audit::Findings { order_breaks: 1, ..clean() });
    assert_eq!(found(Fault::Tell), audit::Findings { told: 1, resyncs: 1, ..clean() });
}

#[test]
fn a_broken_promise_is_the_verdict() {
    let report = rooms(Fault::Lose, &[]);
    assert!(report.verdict().broken);
    assert!(outcome(&report).failures.contains(&"1 lost".to_owned()));
    assert!(!rooms(Fault::Tell, &[]).verdict().broken);
}

#[test]
fn a_ladder_climbs_to_its_ceiling() {
    let ladder = ["--rate", "0", "--from", "20", "--to", "40", "--step-seconds", "1"];
    let report = rooms(Fault::None, &ladder);
    let Steps::Ladder(climbed) = &report.steps else { panic!("a ladder was asked for") };
    let rates: Vec<f64> = climbed.rungs.iter().map(|rung| rung.offered_per_s.round()).collect();
    assert_eq!(rates, [20.0, 30.0, 40.0]);
    assert!(climbed.sustained.as_ref().is_some_and(|best| best.offered_per_s == 40.0));
}

#[test]
fn large_rooms_are_filled_by_hundreds() {
    let report = rooms(Fault::None, &["--rooms", "1", "--members", "230"]);
    assert_eq!(outcome(&report).delivered, 60 * 230);
}

#[test]
fn impossible_seats_are_refused() {
    let parse = |line: &[&str]| Rooms::parse_from(["rooms"].iter().chain(line)).options;
    assert!(seats(&parse(&["--users", "9"])).is_err());
    assert!(seats(&parse(&["--rooms", "2000", "--members", "10"])).is_err());
    assert_eq!(seats(&parse(&[])).unwrap().rooms.len(), 100);
}
