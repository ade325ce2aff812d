//! The book of one step: what was sent, answered and delivered, and how long after the planned time.

use super::audit::Audit;
use super::plan::{Plan, Seats};
use super::scan::{Scanner, Seen};
use crate::report::latency::Recorder;
use crate::socket::FIRST_COMMAND;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Kinds of refusal told apart; the rest is counted together.
const CODES: usize = 32;

pub struct Ledger {
    pub origin: Instant,
    pub plan: Plan,
    pub ack: Recorder,
    pub delivery: Recorder,
    /// Actual minus planned time of sending: the generator's own lateness.
    pub lag: Recorder,
    pub sent: u64,
    /// Planned, but the sender's socket had ended.
    pub unsent: u64,
    pub answered: u64,
    pub stored: u64,
    /// Stored, and planned after the warm-up.
    pub stored_measured: u64,
    pub delivered: u64,
    pub delivered_measured: u64,
    /// Deliveries that the stored messages should make.
    pub expected: u64,
    pub refused: BTreeMap<String, u64>,
    /// Texts that are neither reply nor event.
    pub unknown: u64,
    pub last_arrival: Instant,
    /// Each delivery, planned when and how long, where it is wanted.
    pub each: Option<Vec<(Duration, Duration)>>,
}

impl Ledger {
    pub fn new(origin: Instant, plan: Plan) -> Self {
        Self {
            origin,
            plan,
            ack: Recorder::new(),
            delivery: Recorder::new(),
            lag: Recorder::new(),
            sent: 0,
            unsent: 0,
            answered: 0,
            stored: 0,
            stored_measured: 0,
            delivered: 0,
            delivered_measured: 0,
            expected: 0,
            refused: BTreeMap::new(),
            unknown: 0,
            last_arrival: origin,
            each: None,
        }
    }

    pub fn unanswered(&self) -> u64 {
        self.sent - self.answered.min(self.sent)
    }

    /// A message left, or could not.
    pub fn departed(&mut self, planned: Duration, now: Instant, sent: bool) {
        if !sent {
            self.unsent += 1;
            return;
        }
        self.sent += 1;
        if planned >= self.plan.warmup {
            self.lag.record(now.saturating_duration_since(self.origin + planned));
        }
    }

    /// A text arrived.
    pub fn take(
        &mut self,
        socket: usize,
        text: &[u8],
        at: Instant,
        scanner: &Scanner,
        seats: &Seats,
        audit: &mut Audit,
    ) {
        match scanner.look(text) {
            Seen::Created { conversation, seq, body } => {
                let ours = body.filter(|body| body.tag == self.plan.tag && (body.room as usize) < seats.rooms.len());
                let number = ours.map(|body| (body.number, body.room as usize));
                audit.delivered(socket, conversation, number, seq);
                if let Some(body) = ours {
                    self.arrived(Duration::from_nanos(body.planned_ns), at);
                }
            }
            Seen::Stored { re, seq } => self.acknowledged(re, seq, at, seats, audit),
            Seen::Refused { re, code } => {
                self.answered += u64::from(self.number(re).is_some());
                let code = if self.refused.len() < CODES { code } else { "others" };
                *self.refused.entry(code.to_owned()).or_default() += 1;
            }
            Seen::Resync(text) => audit.resync(socket, text),
            Seen::Event => {}
            Seen::Unknown => self.unknown += 1,
        }
    }

    fn arrived(&mut self, planned: Duration, at: Instant) {
        self.delivered += 1;
        self.last_arrival = at;
        let took = at.saturating_duration_since(self.origin + planned);
        if let Some(each) = &mut self.each {
            each.push((planned, took));
        }
        if planned >= self.plan.warmup {
            self.delivered_measured += 1;
            self.delivery.record(took);
        }
    }

    fn acknowledged(&mut self, re: u64, seq: u64, at: Instant, seats: &Seats, audit: &mut Audit) {
        let Some(number) = self.number(re) else { return };
        let due = self.plan.due(number, seats);
        self.answered += 1;
        self.stored += 1;
        self.last_arrival = at;
        self.expected += (seats.rooms[due.room].len() * seats.sockets_per_user) as u64;
        audit.acknowledged(number, due.room, seq);
        if due.at >= self.plan.warmup {
            self.stored_measured += 1;
            self.ack.record(at.saturating_duration_since(self.origin + due.at));
        }
    }

    /// The request id of a message: its number, apart from other steps' by the tag.
    pub fn request_id(&self, number: u64) -> u64 {
        self.base() + number
    }

    fn number(&self, re: u64) -> Option<u64> {
        re.checked_sub(self.base()).filter(|number| *number < self.plan.total)
    }

    /// Steps are told apart by 2^26 numbers each, so a late answer of the last one is not taken for one of this.
    fn base(&self) -> u64 {
        FIRST_COMMAND + (u64::from(self.plan.tag & 0xffff) << 26)
    }
}
