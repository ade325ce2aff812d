//! The server SIGKILLed, killed by itself before and after a commit, and PostgreSQL SIGKILLed, while twenty clients talk,
//! resend and come back: afterwards the history checker and the database's own checks look for anything that broke.
//!
//! `rookery test --faults` does it many times over. A run prints its seed; `ROOKERY_TEST_SEED` tries it again.
#![allow(clippy::unwrap_used, clippy::print_stdout)] // All of this file is a test; clippy knows only marked functions.

#[path = "history/lib.rs"]
mod history;
#[path = "people/lib.rs"]
mod people;
#[allow(dead_code, reason = "the launcher's tests use the rest")]
#[path = "launcher/stage.rs"]
mod stage;

use history::{Report, Time};
use people::{Client, Crowd, Dice, Habits, Phase};
use rustix::process::Signal;
use stage::{Stage, Up, eventually, send};
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Runtime;

/// Answers between one fault and the next, by everybody together.
const TALK: u64 = 60;
const HABITS: Habits = Habits { people: 20, pause: Duration::from_millis(100), watch: false };
const SETTINGS: &str =
    "LIMIT_REGISTER_PER_ADDRESS=100000\nLIMIT_REQUESTS_PER_ADDRESS=100000\nLIMIT_COMMANDS_PER_USER=100000\n";

#[derive(Clone, Copy, Debug)]
enum Fault {
    /// SIGKILL of the server; its private PostgreSQL goes with it.
    Server,
    /// The server ends itself at the n-th passing of this point.
    Point(&'static str),
    /// SIGKILL of PostgreSQL; the server stays and brings it back.
    Postgres,
}

const ROUND: [Fault; 7] = [
    Fault::Point("before_commit"),
    Fault::Postgres,
    Fault::Point("after_commit"),
    Fault::Server,
    Fault::Point("before_commit"),
    Fault::Postgres,
    Fault::Point("after_commit"),
];

struct Run {
    stage: Stage,
    server: Up,
    crowd: Arc<Crowd>,
    dice: Dice,
    /// When each was begun.
    inflicted: Vec<(Fault, Time)>,
}

#[test]
fn whatever_is_killed_nothing_that_was_answered_is_lost() {
    let rounds = if std::env::var_os("ROOKERY_TEST_FAULTS").is_some() { 10 } else { 1 };
    let mut run = Run::begin();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let clients: Vec<_> =
        (0..HABITS.people).map(|me| runtime.spawn(Client::new(run.crowd.clone(), me).run())).collect();
    for round in 0..rounds {
        for fault in ROUND {
            run.talk();
            run.inflict(fault);
        }
        if round == 0 {
            run.talk();
            run.crowd.remove_the_last(&run.server.address);
        }
    }
    run.talk();
    run.crowd.phase.send_replace(Phase::Settle);
    eventually("every message answered", || run.crowd.all_idle());
    run.crowd.phase.send_replace(Phase::Read);
    for client in clients {
        runtime
            .block_on(async { tokio::time::timeout(stage::DEADLINE, client).await })
            .expect("all read in time")
            .unwrap();
    }
    run.judge(&runtime);
}

impl Run {
    fn begin() -> Self {
        let seed = std::env::var("ROOKERY_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = seed.unwrap_or_else(|| uuid::Uuid::now_v7().as_u128() as u64);
        println!("seed {seed}");
        let stage = Stage::with_a_copy();
        std::fs::write(stage.path(".env"), SETTINGS).unwrap();
        let server = stage.up();
        let crowd = Crowd::gather(std::slice::from_ref(&server.address), HABITS, seed);
        Self { stage, server, crowd, dice: Dice::new(seed), inflicted: vec![] }
    }

    /// Until so much more has been answered: the server serves.
    fn talk(&self) {
        let before = self.crowd.answered()[0];
        eventually("answers", || self.crowd.answered()[0] >= before + TALK);
    }

    fn inflict(&mut self, fault: Fault) {
        self.inflicted.push((fault, self.crowd.recorder.now()));
        match fault {
            Fault::Server => {
                self.kill();
                self.start(&[]);
            }
            Fault::Point(name) => {
                self.kill();
                let point = format!("{name}:{}", 5 + self.dice.below(60));
                self.start(&[("ROOKERY_FAILPOINT", point)]);
                assert!(!self.server.wait().success(), "it has reached its failpoint");
                self.start(&[]);
            }
            Fault::Postgres => send(self.server.postmaster(), Signal::KILL),
        }
    }

    fn kill(&mut self) {
        self.server.signal(Signal::KILL);
        self.server.wait();
    }

    fn start(&mut self, environment: &[(&str, String)]) {
        self.server = self.stage.up_with("data", environment);
        self.crowd.server_is_at(0, &self.server.address);
    }

    fn judge(&self, runtime: &Runtime) {
        let findings = runtime.block_on(people::read(&self.server.database_url(), &self.crowd));
        let history = self.crowd.recorder.history();
        let report = Report::of(&history);
        let until = self.inflicted.iter().skip(1).map(|(_, at)| *at).chain([Time::MAX]);
        for ((fault, from), until) in self.inflicted.iter().zip(until) {
            println!("{fault:?}: no answer for {} ms", Report::stall(&history, *from, until).as_millis());
        }
        println!("{report}");
        if !report.violations.is_empty() {
            let kept =
                std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("faults-{}.txt", self.crowd.seed));
            std::fs::write(&kept, format!("{report}\n{history:#?}\n")).unwrap();
            panic!("{} promises broken; the history is in {}", report.violations.len(), kept.display());
        }
        assert_eq!(findings, [], "the database is whole");
        // What would pass on an empty history has tested nothing.
        assert!(report.ok > 500 && report.received > report.ok && report.rows >= report.ok, "{report}");
        assert_eq!((history.removals.len(), report.resets), (1, 0), "{report}");
        assert!(report.stall < Duration::from_secs(30), "{report}");
    }
}
