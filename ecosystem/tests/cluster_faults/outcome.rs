//! A run that is over, and what is to be said of it: what the checker finds, what the database's own checks find, and how
//! long each fault made people wait.

use crate::cluster;
use crate::history::{History, Report, Time};
use crate::plan::Fault;
use shared::store::verify::Finding;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

/// A fault that has been and gone.
pub struct Suffered {
    pub fault: Fault,
    pub from: Time,
    /// From its end until every watcher knew who was here.
    pub presence: Option<Duration>,
}

pub struct Outcome {
    pub name: String,
    pub logs: Vec<PathBuf>,
    pub history: History,
    pub findings: Vec<Finding>,
    pub suffered: Vec<Suffered>,
}

impl Outcome {
    /// Fails for every promise that was broken, and where nobody waited long enough for it to be seen. `history` is what is
    /// to be judged: the whole, or what a restored database answers for.
    pub fn judge(&self, history: &History) {
        let report = Report::of(history);
        let (table, too_long) = self.table();
        println!("{table}\n{report}");
        let mut wrong: Vec<String> = report.violations.iter().map(ToString::to_string).collect();
        wrong.extend(self.findings.iter().map(ToString::to_string));
        wrong.extend(too_long);
        if !wrong.is_empty() {
            let kept = self.keep(&format!("{table}\n{report}"));
            wrong.truncate(20);
            panic!("{}\nthe logs and the history are in {}", wrong.join("\n"), kept.display());
        }
        // What would pass on an empty history has tested nothing.
        let each = 80 * self.suffered.len();
        assert!(report.ok > each && report.rows >= report.ok && report.received > 10 * report.ok, "{report}");
        assert!(report.looks > 1000 && report.resyncs + report.resets > 0, "{report}");
    }

    /// Whatever helps to understand a failure, where it is not removed.
    pub fn keep(&self, report: &str) -> PathBuf {
        let kept = cluster::keep(&self.name, &self.logs);
        std::fs::write(kept.join("slowest.txt"), self.slowest()).unwrap();
        std::fs::write(kept.join("history.txt"), format!("{report}\n{:#?}\n", self.history)).unwrap();
        kept
    }

    /// Each fault from its beginning until the next one's.
    fn windows(&self) -> impl Iterator<Item = (&Suffered, Time)> {
        let until = self.suffered.iter().skip(1).map(|next| next.from).chain([Time::MAX]);
        self.suffered.iter().zip(until)
    }

    /// Of each fault the messages that were waited for longest, with all their tries.
    fn slowest(&self) -> String {
        let mut text = String::new();
        for (Suffered { fault, from, .. }, until) in self.windows() {
            writeln!(text, "{} from {} ms", fault.name(), from / 1_000_000).unwrap();
            for (wait, message) in Report::waits(&self.history, *from, until).into_iter().take(12) {
                writeln!(text, "  {} ms in {}: {}", wait.as_millis(), message.conversation, message.id).unwrap();
                for attempt in self.history.attempts.iter().filter(|attempt| attempt.message.id == message.id) {
                    let (at, completed) = (attempt.invoked / 1_000_000, attempt.completed.map(|at| at / 1_000_000));
                    writeln!(text, "    client {}: {at} ms to {completed:?}, {:?}", attempt.client, attempt.outcome)
                        .unwrap();
                }
            }
        }
        text
    }

    /// As it stands in `docs/faults.md`; and what was longer than twice the goal.
    fn table(&self) -> (String, Vec<String>) {
        let mut table =
            "| fault | goal | longest wait for an answer | longest time without any answer | presence true after |\n\
            | --- | --- | --- | --- | --- |\n"
                .to_owned();
        let mut too_long = vec![];
        for (Suffered { fault, from, presence }, until) in self.windows() {
            let wait = Report::waits(&self.history, *from, until).first().map_or(Duration::ZERO, |(wait, _)| *wait);
            let silence = Report::stall(&self.history, *from, until);
            let seconds = |time: Duration| format!("{:.1} s", time.as_secs_f64());
            let goal = seconds(fault.out_of_reach() + fault.goal());
            let presence = presence.map_or_else(String::new, seconds);
            let row = [fault.name().to_owned(), goal, seconds(wait), seconds(silence), presence].join(" | ");
            writeln!(table, "| {row} |").unwrap();
            if wait.max(silence) > fault.out_of_reach() + 2 * fault.goal() {
                too_long.push(format!("{}: somebody waited {}, all {}", fault.name(), seconds(wait), seconds(silence)));
            }
        }
        (table, too_long)
    }
}
