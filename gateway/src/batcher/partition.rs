//! One partition's commands: waiting to be published, or published and without an answer. No I/O, no waiting.

use super::Waiter;
use shared::{
    command::{Command, Envelope},
    domain::{BATCH_BYTES_MAX, BATCH_COMMANDS_MAX, COMMAND_DEADLINE, ConversationId, UserId},
};
use smallvec::{SmallVec, smallvec};
use std::{
    collections::{HashMap, VecDeque},
    time::{Duration, Instant},
};

/// Unanswered this long, a batch is published again; then twice as long, and so on until the deadline.
const RESEND_AFTER: Duration = Duration::from_secs(5);

/// A command and whoever waits for its answer: several, where marks were merged.
#[derive(Debug)]
pub struct Waiting {
    pub envelope: Envelope,
    pub waiters: SmallVec<[Waiter; 1]>,
    pub weight: usize,
    pub submitted: Instant,
    pub deadline: Instant,
    /// An earlier copy was given to the bus and not refused.
    taken_before: bool,
    /// The batch it is in, if it is published.
    batch: Option<u64>,
    resend_after: Duration,
}

impl Waiting {
    pub fn new(envelope: Envelope, waiter: Waiter, deadline: Instant) -> Self {
        Self {
            weight: envelope.weight(),
            envelope,
            waiters: smallvec![waiter],
            submitted: deadline - COMMAND_DEADLINE,
            deadline,
            taken_before: false,
            batch: None,
            resend_after: RESEND_AFTER,
        }
    }

    /// Whether it may have been applied: it is on the bus, or was.
    pub fn perhaps_taken(&self) -> bool {
        self.taken_before || self.batch.is_some()
    }
}

/// A batch on the bus with unanswered commands.
#[derive(Debug)]
struct Published {
    number: u64,
    unanswered: usize,
    again_at: Instant,
}

#[derive(Debug, Default)]
pub struct Partition {
    commands: HashMap<u64, Waiting>,
    /// Tickets to publish, in order.
    queue: VecDeque<u64>,
    /// Every ticket in the order of its deadline.
    deadlines: VecDeque<(Instant, u64)>,
    /// Marks that are not published yet: another of the same person and conversation goes into it.
    marks: HashMap<(UserId, ConversationId), u64>,
    published: VecDeque<Published>,
    batches: u64,
}

impl Partition {
    pub fn len(&self) -> usize {
        self.commands.len()
    }

    /// Commands that wait to be published, and batches whose answers are awaited.
    pub fn waiting(&self) -> (usize, usize) {
        (self.queue.len(), self.published.len())
    }

    pub fn is_open(&self, window: usize) -> bool {
        !self.queue.is_empty() && self.published.len() < window
    }

    /// True when it was merged into a mark that waits already: only the highest is worth a row.
    pub fn add(&mut self, waiting: Waiting) -> bool {
        let ticket = waiting.envelope.ticket;
        if let Command::Mark { conversation_id, marks } = &waiting.envelope.command {
            let key = (waiting.envelope.actor, *conversation_id);
            if let Some(there) = self.marks.get(&key).and_then(|ticket| self.commands.get_mut(ticket))
                && let Command::Mark { marks: earlier, .. } = &mut there.envelope.command
            {
                earlier.merge(*marks);
                there.waiters.extend(waiting.waiters);
                return true;
            }
            self.marks.insert(key, ticket);
        }
        self.deadlines.push_back((waiting.deadline, ticket));
        self.queue.push_back(ticket);
        self.commands.insert(ticket, waiting);
        false
    }

    /// The next batch, if the window is open: at most 256 commands or 128 KiB. Returns its number, and the time its
    /// youngest command still has.
    pub fn next_batch(&mut self, window: usize, now: Instant) -> Option<(u64, Vec<Envelope>, Duration)> {
        if !self.is_open(window) {
            return None;
        }
        let (mut batch, mut bytes, mut ttl) = (Vec::new(), 0, Duration::ZERO);
        self.batches += 1;
        while let Some(ticket) = self.queue.front() {
            let Some(waiting) = self.commands.get_mut(ticket) else {
                self.queue.pop_front();
                continue;
            };
            if batch.len() >= BATCH_COMMANDS_MAX || (bytes + waiting.weight > BATCH_BYTES_MAX && !batch.is_empty()) {
                break;
            }
            self.queue.pop_front();
            if let Command::Mark { conversation_id, .. } = &waiting.envelope.command {
                self.marks.remove(&(waiting.envelope.actor, *conversation_id));
            }
            bytes += waiting.weight;
            ttl = ttl.max(waiting.deadline.saturating_duration_since(now));
            waiting.batch = Some(self.batches);
            batch.push(waiting.envelope.clone());
        }
        if batch.is_empty() {
            return None;
        }
        let again = self.resend_after(&batch);
        self.published.push_back(Published { number: self.batches, unanswered: batch.len(), again_at: now + again });
        Some((self.batches, batch, ttl))
    }

    fn resend_after(&self, batch: &[Envelope]) -> Duration {
        batch
            .iter()
            .filter_map(|envelope| self.commands.get(&envelope.ticket))
            .map(|w| w.resend_after)
            .max()
            .unwrap_or(RESEND_AFTER)
    }

    /// The command has its answer.
    pub fn take(&mut self, ticket: u64) -> Option<Waiting> {
        let waiting = self.commands.remove(&ticket)?;
        if let Some(number) = waiting.batch
            && let Some(at) = self.published.iter().position(|batch| batch.number == number)
        {
            self.published[at].unanswered -= 1;
            if self.published[at].unanswered == 0 {
                self.published.remove(at);
            }
        }
        // Deadlines are in order: what is answered at the front need not be kept.
        while let Some((_, first)) = self.deadlines.front()
            && !self.commands.contains_key(first)
        {
            self.deadlines.pop_front();
        }
        Some(waiting)
    }

    /// Publish this batch again. `refused`: it is known that the bus did not take it.
    pub fn requeue(&mut self, number: u64, refused: bool) {
        let mut tickets: Vec<u64> = self
            .commands
            .iter()
            .filter(|(_, waiting)| waiting.batch == Some(number))
            .map(|(ticket, _)| *ticket)
            .collect();
        tickets.sort_unstable();
        for ticket in tickets.iter().rev() {
            if let Some(waiting) = self.commands.get_mut(ticket) {
                waiting.batch = None;
                waiting.resend_after *= 2;
                waiting.taken_before |= !refused;
            }
            self.queue.push_front(*ticket);
        }
        self.published.retain(|batch| batch.number != number);
    }

    /// Publish everything unanswered again. Returns how many commands that are.
    pub fn requeue_all(&mut self) -> usize {
        let batches: Vec<u64> = self.published.iter().map(|batch| batch.number).collect();
        let again = self.published.iter().map(|batch| batch.unanswered).sum();
        for number in batches.iter().rev() {
            self.requeue(*number, false);
        }
        again
    }

    /// What is past its deadline, and how many commands are to be published again because their batch is overdue.
    pub fn sweep(&mut self, now: Instant) -> (Vec<Waiting>, usize) {
        let mut expired = vec![];
        while let Some((deadline, ticket)) = self.deadlines.front().copied()
            && deadline <= now
        {
            self.deadlines.pop_front();
            if let Some(waiting) = self.take(ticket) {
                if let Command::Mark { conversation_id, .. } = &waiting.envelope.command {
                    self.marks.remove(&(waiting.envelope.actor, *conversation_id));
                }
                expired.push(waiting);
            }
        }
        let overdue: Vec<u64> =
            self.published.iter().filter(|batch| batch.again_at <= now).map(|batch| batch.number).collect();
        let resent = self.published.iter().filter(|batch| batch.again_at <= now).map(|batch| batch.unanswered).sum();
        for number in overdue.iter().rev() {
            self.requeue(*number, false);
        }
        (expired, resent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shared::{
        command::Marks,
        domain::{CommandId, SessionId},
    };
    use tokio::sync::oneshot;

    fn waiting(ticket: u64, command: Command, now: Instant) -> Waiting {
        let actor = UserId(uuid::Uuid::from_u128(1));
        let envelope = Envelope {
            ticket,
            id: CommandId::new(),
            actor,
            session: SessionId::default(),
            request_id: "".into(),
            command,
        };
        Waiting::new(envelope, Waiter::Rest(oneshot::channel().0), now + COMMAND_DEADLINE)
    }

    fn close(ticket: u64, now: Instant) -> Waiting {
        waiting(ticket, Command::CloseConversation { conversation_id: ConversationId::default() }, now)
    }

    fn tickets(batch: &[Envelope]) -> Vec<u64> {
        batch.iter().map(|envelope| envelope.ticket).collect()
    }

    #[test]
    fn the_window_counts_batches_with_unanswered_commands() {
        let now = shared::clock::monotonic();
        let mut partition = Partition::default();
        for ticket in 0..3 {
            partition.add(close(ticket, now));
            let batch = partition.next_batch(2, now);
            assert_eq!(batch.is_some(), ticket < 2, "two are under way, the third waits");
        }
        partition.add(close(3, now));
        partition.take(0).unwrap();
        let (_, batch, _) = partition.next_batch(2, now).expect("an answer freed the window");
        assert_eq!(tickets(&batch), [2, 3], "what arrived meanwhile goes together");
    }

    #[test]
    fn batches_are_bounded() {
        let now = shared::clock::monotonic();
        let mut partition = Partition::default();
        for ticket in 0..300 {
            partition.add(close(ticket, now));
        }
        assert_eq!(partition.next_batch(9, now).unwrap().1.len(), BATCH_COMMANDS_MAX);
        assert_eq!(partition.next_batch(9, now).unwrap().1.len(), 300 - BATCH_COMMANDS_MAX);
    }

    #[test]
    fn what_is_published_again_keeps_its_order_and_leaves_out_what_is_answered() {
        let now = shared::clock::monotonic();
        let mut partition = Partition::default();
        for ticket in 0..4 {
            partition.add(close(ticket, now));
        }
        partition.next_batch(2, now).unwrap();
        partition.add(close(4, now));
        partition.next_batch(2, now).unwrap();
        partition.take(1).unwrap();
        assert_eq!(partition.requeue_all(), 4);
        assert_eq!(tickets(&partition.next_batch(2, now).unwrap().1), [0, 2, 3, 4]);
    }

    #[test]
    fn unanswered_for_five_seconds_is_published_again_and_for_fifteen_is_over() {
        let now = shared::clock::monotonic();
        let mut partition = Partition::default();
        partition.add(close(0, now));
        partition.next_batch(2, now).unwrap();
        assert_eq!(partition.sweep(now + Duration::from_secs(4)).1, 0);
        assert_eq!(partition.sweep(now + Duration::from_secs(5)).1, 1);
        assert_eq!(tickets(&partition.next_batch(2, now).unwrap().1), [0]);
        let (expired, _) = partition.sweep(now + COMMAND_DEADLINE);
        assert!(expired[0].perhaps_taken());
        assert_eq!(partition.len(), 0);
    }

    #[test]
    fn a_command_that_the_bus_never_took_is_known_to_be_undone() {
        let now = shared::clock::monotonic();
        let mut partition = Partition::default();
        partition.add(close(0, now));
        let (number, ..) = partition.next_batch(2, now).unwrap();
        partition.requeue(number, true);
        let (number, ..) = partition.next_batch(2, now).unwrap();
        partition.requeue(number, true);
        assert!(!partition.sweep(now + COMMAND_DEADLINE).0[0].perhaps_taken());
    }

    #[test]
    fn only_the_highest_mark_is_sent_and_everybody_is_answered() {
        let now = shared::clock::monotonic();
        let conversation_id = ConversationId::default();
        let mark = |read| Command::Mark { conversation_id, marks: Marks { read_seq: Some(read), delivered_seq: None } };
        let mut partition = Partition::default();
        assert!(!partition.add(waiting(0, mark(5), now)));
        assert!(partition.add(waiting(1, mark(3), now)));
        let (_, batch, _) = partition.next_batch(2, now).unwrap();
        assert!(matches!(
            batch[..],
            [Envelope { command: Command::Mark { marks: Marks { read_seq: Some(5), .. }, .. }, .. }]
        ));
        assert!(!partition.add(waiting(2, mark(9), now)), "one that is under way is not changed any more");
        assert_eq!(partition.take(0).unwrap().waiters.len(), 2);
    }
}
