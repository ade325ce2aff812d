//! A cluster of two gateways and two workers on its own PostgreSQL, Redis and RabbitMQ, and forty people on it, while its
//! parts are killed, stopped, emptied, cut off, fed with garbage, reloaded and restored in turn: nothing that was answered
//! may be lost, everything is there once and in order, everybody ends with the table and knows who is here, and nobody
//! waits longer than twice the goal of `docs/faults.md`.
//!
//! In every run of the tests some of it; the whole, and two servers that are wrong on purpose and have to be found out, by
//! `rookery test --faults`. A run prints its seed; `ROOKERY_TEST_SEED` tries it again.
#![allow(clippy::unwrap_used, clippy::print_stdout)] // All of this file is a test; clippy knows only marked functions.

#[path = "cluster_faults/cluster.rs"]
mod cluster;
#[path = "cluster_faults/crossing.rs"]
mod crossing;
#[path = "cluster_faults/engines.rs"]
mod engines;
#[path = "history/lib.rs"]
mod history;
#[path = "cluster_faults/inflict.rs"]
mod inflict;
#[path = "cluster_faults/outcome.rs"]
mod outcome;
#[path = "people/lib.rs"]
mod people;
#[path = "cluster_faults/plan.rs"]
mod plan;
#[path = "cluster_faults/poison.rs"]
mod poison;
#[path = "cluster_faults/process.rs"]
mod process;
#[path = "cluster_faults/proxy.rs"]
mod proxy;
#[path = "cluster_faults/restore.rs"]
mod restore;
#[path = "cluster_faults/run.rs"]
mod run;
#[allow(dead_code, reason = "the launcher's tests use the rest")]
#[path = "launcher/stage.rs"]
mod stage;

use engines::Engines;
use history::{Kind, Report, of_the_restored};
use plan::{Fault, QUICK, WHOLE};
use run::Run;
use stage::{Stage, eventually};
use tokio::runtime::Runtime;

/// So often PostgreSQL is taken from a server that is wrong.
const MUTANT_ROUNDS: usize = 4;

/// The three services, the program, and the threads of the clients and of the network between all of them.
struct Ground {
    runtime: Runtime,
    engines: Engines,
    stage: Stage,
}

#[test]
fn whatever_becomes_of_its_parts_the_cluster_keeps_its_promises() {
    let whole = std::env::var_os("ROOKERY_TEST_FAULTS").is_some();
    let stage = Stage::with_a_copy();
    let engines = Engines::start(&stage.path("engines"));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let ground = Ground { runtime, engines, stage };
    match whole {
        false => ground.suffers(&QUICK, false),
        true => {
            ground.suffers(&WHOLE, true);
            ground.is_restored();
            ground.finds_out("mutant:answer_before_commit", Kind::Lost);
            ground.finds_out("mutant:nack_requeue", Kind::SendOrder);
        }
    }
}

/// A fault that is tried and not told of is as good as not tried.
#[test]
fn the_page_says_of_each_fault_what_it_costs() {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/faults.md")).unwrap();
    let mut rows = page.lines().filter(|line| line.starts_with("| ") && line.contains(" s | ")).collect::<Vec<_>>();
    for fault in WHOLE.into_iter().chain([Fault::Restored]) {
        let star = if QUICK.contains(&fault) { r" \*" } else { "" };
        let goal = (fault.out_of_reach() + fault.goal()).as_secs_f64();
        let row = format!("| {}{star} | {goal:.1} s | ", fault.name());
        let at = rows.iter().position(|line| line.starts_with(&row));
        rows.remove(at.unwrap_or_else(|| panic!("no row begins with {row}")));
    }
    assert!(rows.is_empty(), "of faults that are not tried: {rows:?}");
}

impl Ground {
    fn begin(&self, name: &str, failpoint: Option<&str>) -> Run<'_> {
        Run::begin(&self.engines, &self.runtime, &self.stage.path("rookery"), name, failpoint)
    }

    /// One fault after the other; and somebody is taken out of a conversation meanwhile.
    fn suffers(&self, faults: &[Fault], settle: bool) {
        let mut run = self.begin("faults", None);
        for (number, fault) in faults.iter().enumerate() {
            run.suffer(*fault, settle);
            if number == 0 {
                run.crowd.remove_the_last(&run.cluster.gateways[0].address());
            }
        }
        let outcome = run.finish();
        assert_eq!(outcome.suffered.len(), faults.len());
        assert_eq!(outcome.history.removals.len(), 1);
        outcome.judge(&outcome.history);
    }

    /// The clients' history goes on over the restore; what it may have cost is what was answered after the backup.
    fn is_restored(&self) {
        let mut run = self.begin("restored", None);
        let backup = restore::back_up(&self.engines, &run.crowd, &self.stage.path("backup"));
        run.talk();
        // Undone by the restore, with all that is remembered of it anywhere.
        run.crowd.remove_the_last(&run.cluster.gateways[0].address());
        run.talk();
        let from = run.crowd.recorder.now();
        let processes = run.cluster.gateways.iter().chain(&run.cluster.workers);
        let runtime = self.runtime.handle();
        let restore = restore::restore(&self.engines, &run.cluster.name, &run.crowd, &backup, processes, runtime);
        run.suffered(Fault::Restored, from, true);
        let people = run.crowd.people.len();
        eventually("everybody to begin anew", || run.crowd.recorder.presence().resets == people);
        // More than was lost: the counting is beyond where it was, and everybody has heard all of it.
        (0..4).for_each(|_| run.talk());
        let outcome = run.finish();
        let undone = outcome.history.attempts.iter().filter_map(|attempt| attempt.completed);
        let undone = undone.filter(|at| (restore.backup..restore.begun).contains(at)).count();
        let restored = of_the_restored(&outcome.history, restore);
        outcome.judge(&restored);
        let report = Report::of(&restored);
        assert!(undone > 50 && report.resets == people, "{undone} answers undone; everybody began anew once: {report}");
    }

    /// A server that is wrong on purpose breaks a promise in front of the checker.
    fn finds_out(&self, mutant: &str, kind: Kind) {
        let name = mutant.replace(':', "_");
        let mut run = self.begin(&name, Some(mutant));
        for _ in 0..MUTANT_ROUNDS {
            run.suffer(Fault::PostgresAway, false);
        }
        let outcome = run.finish();
        let report = Report::of(&outcome.history);
        println!("{mutant}\n{report}");
        let found = report.count(kind) > 0;
        assert!(found, "{mutant} breaks {kind:?}, and nobody has seen it; kept: {}", outcome.keep("").display());
    }
}
