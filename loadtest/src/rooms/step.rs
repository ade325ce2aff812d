//! One step: a rate held for a time, open loop. Messages leave at their planned times whatever the server does; then
//! the step waits until everything has been answered and delivered, and says what it found.

use super::audit::Audit;
use super::ledger::Ledger;
use super::outcome::{Outcome, Window};
use super::plan::{Plan, Seats};
use super::scan::{Body, Scanner};
use crate::report::progress::Progress;
use crate::socket::swarm::{Swarm, Tally};
use crate::watch::{self, Meter};
use anyhow::Result;
use shared::clock;
use std::io::Write;
use std::time::{Duration, Instant};

/// A command is answered within 15 s (docs/socket.md, "Limits"); a little more for the way.
const DRAIN_LIMIT: Duration = Duration::from_secs(20);
/// When all is answered and nothing has come for so long, nothing will.
const QUIET: Duration = Duration::from_secs(2);
/// Unanswered messages at which the step is given up as overloaded: two seconds' worth, at least this many.
const BACKLOG_SECONDS: f64 = 2.0;
const BACKLOG_FLOOR: u64 = 1_000;
/// How far the generator itself may be behind its plan at the end before the step is given up.
const LATE_LIMIT: Duration = Duration::from_secs(2);
/// Messages sent before the sockets are looked at again.
const BURST: usize = 32;
/// From the step's preparation to its first message.
const RUN_UP: Duration = Duration::from_millis(20);

/// What lives longer than a step.
pub struct Stage {
    pub swarm: Swarm,
    pub audit: Audit,
    pub seats: Seats,
    /// The conversations' ids, in the order of the seats.
    pub names: Vec<String>,
    pub scanner: Scanner,
    pub body_bytes: usize,
    pub watch: watch::Options,
    /// Filled by each step, where it is asked for.
    pub timeline: Option<Timeline>,
}

/// Every delivery of one step: when its message was planned, and how long it took. For low rates.
#[derive(Default)]
pub struct Timeline {
    pub origin: Option<Instant>,
    pub deliveries: Vec<(Duration, Duration)>,
}

impl Stage {
    /// Runs one step to its end.
    pub fn run(&mut self, plan: Plan) -> Result<Outcome> {
        self.audit.begin(plan.total);
        self.swarm.tally = Tally::default();
        let mut ledger = Ledger::new(clock::monotonic() + RUN_UP, plan);
        ledger.each = self.timeline.is_some().then(Vec::new);
        let window = self.offer(&mut ledger)?;
        self.drain(&mut ledger)?;
        let (origin, each) = (ledger.origin, ledger.each.take());
        self.timeline = each.map(|deliveries| Timeline { origin: Some(origin), deliveries });
        let (plan, seats) = (&ledger.plan, &self.seats);
        let findings = self.audit.finish(&|socket| self.swarm.is_open(socket), &|number| plan.due(number, seats).room);
        Ok(Outcome::new(&ledger, window, findings, &self.swarm.tally))
    }

    /// Sends by plan, reading in between; gives up when the server is hopelessly behind.
    fn offer(&mut self, ledger: &mut Ledger) -> Result<Window> {
        let progress = Progress::new("offering messages, s", ledger.plan.length.as_secs() as usize);
        let mut meter = Meter::new(&self.watch);
        let backlog_limit = BACKLOG_FLOOR.max((ledger.plan.rate_per_s * BACKLOG_SECONDS) as u64);
        let end = ledger.origin + ledger.plan.length;
        let mut next = 0;
        loop {
            let now = clock::monotonic();
            if !meter.has_begun() && now >= ledger.origin + ledger.plan.warmup {
                meter.begin()?;
                progress.at(ledger.plan.warmup.as_secs() as usize);
            }
            next = self.send_due(ledger, next);
            let overloaded = ledger.unanswered() > backlog_limit || now > end + LATE_LIMIT;
            if overloaded || (now >= end && next == ledger.plan.total) {
                return Ok(Window { spent: meter.end()?, backlog: ledger.unanswered(), overloaded });
            }
            let wake = if next < ledger.plan.total { ledger.origin + ledger.plan.due_at(next) } else { end };
            let wake = if !meter.has_begun() { wake.min(ledger.origin + ledger.plan.warmup) } else { wake };
            self.read(ledger, wake.saturating_duration_since(clock::monotonic()))?;
        }
    }

    /// Sends what is due, at most a burst of it, and returns the number of the next message.
    fn send_due(&mut self, ledger: &mut Ledger, mut next: u64) -> u64 {
        let mut text = Vec::with_capacity(self.body_bytes + 256);
        for _ in 0..BURST {
            let now = clock::monotonic();
            if next >= ledger.plan.total || ledger.origin + ledger.plan.due_at(next) > now {
                break;
            }
            let due = ledger.plan.due(next, &self.seats);
            text.clear();
            self.compose(ledger, next, &mut text);
            let sent = self.swarm.send(due.socket, &text);
            ledger.departed(due.at, now, sent);
            next += 1;
        }
        next
    }

    fn compose(&self, ledger: &Ledger, number: u64, text: &mut Vec<u8>) {
        let due = ledger.plan.due(number, &self.seats);
        let (request, room) = (ledger.request_id(number), &self.names[due.room]);
        write!(
            text,
            r#"{{"id":{request},"cmd":"message.send","data":{{"conversation_id":"{room}","id":"{}","body":""#,
            due.id
        )
        .expect("cannot fail because a Vec takes everything");
        let planned_ns = due.at.as_nanos() as u64;
        Body { tag: ledger.plan.tag, room: due.room as u32, number, planned_ns }.write(self.body_bytes, text);
        text.extend_from_slice(b"\"}}");
    }

    fn read(&mut self, ledger: &mut Ledger, wait: Duration) -> Result<()> {
        let Self { swarm, audit, seats, scanner, .. } = self;
        swarm.poll(wait, &mut |socket, text, at| ledger.take(socket, text, at, scanner, seats, audit))
    }

    /// Reads until everything sent is answered and everything stored is delivered, or no more can be hoped for.
    fn drain(&mut self, ledger: &mut Ledger) -> Result<()> {
        let deadline = clock::monotonic() + DRAIN_LIMIT;
        loop {
            let now = clock::monotonic();
            let answered = ledger.unanswered() == 0;
            let quiet = now.saturating_duration_since(ledger.last_arrival) > QUIET;
            if now >= deadline || (answered && (ledger.delivered >= ledger.expected || quiet)) {
                // One more turn: what follows everything awaited would be a double.
                return self.read(ledger, Duration::from_millis(5));
            }
            self.read(ledger, Duration::from_millis(20))?;
        }
    }
}
