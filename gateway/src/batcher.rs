//! The batcher: every command of this gateway on its way in, until it is answered. It keeps few batches with unanswered
//! commands on the bus, per partition; what arrives meanwhile goes into the next one, so batches grow by themselves when
//! there is much to do and nothing waits when there is not.
//!
//! It resends what is not answered when the bus refuses or breaks, when the inbox was lost (the answers lay in it), and
//! by time only as a last resort: the worker gives a copy the answer the first one got. At its deadline a command is
//! answered `timeout` (outcome unknown), or `unavailable` where it is known that it was never taken.

mod partition;
mod publish;

use bytes::Bytes;
use partition::{Partition, Waiting};
use shared::{
    bus::{Bus, BusState},
    command::{Command, Envelope, GatewayRef, partition as partition_of},
    domain::{COMMAND_DEADLINE, CommandId, IN_FLIGHT_BYTES_MAX, SessionId, UserId},
    lifecycle::Stop,
    reply::{Code, Outcome, Refusal, Reply},
};
use std::{
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::sync::{Notify, oneshot};

use crate::shard::ConnId;

/// How often deadlines and resends by time are looked at.
const SWEEP: Duration = Duration::from_millis(250);

/// When to try again a command that the broker's alarm has kept out: an alarm lasts.
const BLOCKED_RETRY_SECONDS: u32 = 5;

/// Who waits for an answer.
#[derive(Debug)]
pub enum Waiter {
    /// A session's request; `re` is the number the client gave it.
    Socket {
        conn: ConnId,
        re: u64,
    },
    Rest(oneshot::Sender<Outcome>),
}

/// A command as a client gave it.
pub struct Submission {
    pub id: CommandId,
    pub actor: UserId,
    pub session: SessionId,
    pub request_id: Arc<str>,
    pub command: Command,
}

/// An answer on its way to a socket.
pub struct SocketAnswer {
    pub conn: ConnId,
    pub re: u64,
    pub outcome: Outcome,
}

/// The answer of a command that was carried out.
pub struct Answer {
    /// False when this command, or what it makes, was there before.
    pub created: bool,
    pub json: Bytes,
}

/// Where answers to sockets go that do not come through the inbox: deadlines.
pub type Deliver = Arc<dyn Fn(Vec<SocketAnswer>) + Send + Sync>;

pub struct Batcher {
    lanes: Vec<Lane>,
    bus: Arc<dyn Bus>,
    /// Under which epoch answers are asked for; none until this gateway has joined.
    me: RwLock<Option<GatewayRef>>,
    tickets: AtomicU64,
    /// Bytes of all commands without an answer.
    in_flight: AtomicUsize,
    window: usize,
}

/// A partition's commands, and the word that there is something to publish.
struct Lane {
    partition: Mutex<Partition>,
    wake: Notify,
    waiting: metrics::Gauge,
    window: metrics::Gauge,
}

impl Batcher {
    pub fn new(bus: Arc<dyn Bus>, window: usize) -> Self {
        let lane = |number: u16| Lane {
            partition: Mutex::default(),
            wake: Notify::new(),
            waiting: metrics::gauge!("rookery_window_waiting_commands", "partition" => number.to_string()),
            window: metrics::gauge!("rookery_window_batches", "partition" => number.to_string()),
        };
        Self {
            lanes: (0..bus.partitions()).map(lane).collect(),
            bus,
            me: RwLock::default(),
            tickets: AtomicU64::new(0),
            in_flight: AtomicUsize::new(0),
            window,
        }
    }

    /// Takes a command, or refuses it at once and nothing was done. Never waits: called on socket threads.
    pub fn submit(&self, submission: Submission, waiter: Waiter) -> Result<(), (Refusal, Waiter)> {
        let number = partition_of(submission.command.conversation(), self.lanes.len() as u16);
        // A reply names only its ticket; the ticket names its lane.
        let ticket = self.tickets.fetch_add(1, Ordering::Relaxed) * self.lanes.len() as u64 + u64::from(number);
        if self.bus.state() == BusState::Blocked {
            metrics::counter!("rookery_commands_overloaded_total").increment(1);
            let refusal =
                Refusal::new(Code::Overloaded, "the message broker is short of memory or disk and takes nothing");
            return Err((refusal.retry_after(BLOCKED_RETRY_SECONDS), waiter));
        }
        let Submission { id, actor, session, request_id, command } = submission;
        let envelope = Envelope { ticket, id, actor, session, request_id, command };
        let weight = envelope.weight();
        if self.in_flight.fetch_add(weight, Ordering::Relaxed) + weight > IN_FLIGHT_BYTES_MAX {
            self.in_flight.fetch_sub(weight, Ordering::Relaxed);
            metrics::counter!("rookery_commands_overloaded_total").increment(1);
            let refusal = Refusal::new(Code::Overloaded, "too many commands wait for an answer").retry_after(1);
            return Err((refusal, waiter));
        }
        let lane = &self.lanes[usize::from(number)];
        let merged = self.lock(lane).add(Waiting::new(envelope, waiter, shared::clock::monotonic() + COMMAND_DEADLINE));
        if merged {
            self.in_flight.fetch_sub(weight, Ordering::Relaxed);
        }
        lane.wake.notify_one();
        Ok(())
    }

    /// The same for REST: waits for the answer.
    pub async fn execute(&self, submission: Submission) -> Result<Answer, Refusal> {
        let (sender, receiver) = oneshot::channel();
        self.submit(submission, Waiter::Rest(sender)).map_err(|(refusal, _)| refusal)?;
        match receiver.await {
            Ok(Outcome::Ok { created, json }) => Ok(Answer { created, json }),
            Ok(Outcome::Refused(refusal)) => Err(refusal),
            Err(_) => {
                Err(Refusal::new(Code::Timeout, "the server is stopping; the outcome is unknown, the same id is safe"))
            }
        }
    }

    /// Answers that came through the inbox; those for sockets are returned, the others given to who waits.
    pub fn answer(&self, replies: Vec<Reply>, sockets: &mut Vec<SocketAnswer>) {
        for reply in replies {
            let lane = &self.lanes[(reply.ticket % self.lanes.len() as u64) as usize];
            let mut partition = self.lock(lane);
            let Some(done) = partition.take(reply.ticket) else { continue };
            let open = partition.is_open(self.window);
            drop(partition);
            if open {
                lane.wake.notify_one();
            }
            self.finish(done, &reply.outcome, sockets);
        }
    }

    /// From now on answers come to this inbox. What is unanswered is published again, oldest first.
    pub fn joined(&self, me: GatewayRef) {
        *self.me.write().unwrap_or_else(PoisonError::into_inner) = Some(me);
        for lane in &self.lanes {
            let again = self.lock(lane).requeue_all();
            metrics::counter!("rookery_commands_resent_total", "why" => "inbox").increment(again as u64);
            lane.wake.notify_one();
        }
    }

    /// This gateway, as it is known to the routing; none until it has joined.
    pub fn gateway(&self) -> Option<GatewayRef> {
        *self.me.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn bus_state(&self) -> BusState {
        self.bus.state()
    }

    /// Commands without an answer.
    pub fn unanswered(&self) -> usize {
        self.lanes.iter().map(|lane| self.lock(lane).len()).sum()
    }

    /// Publishes until the stop is hard: what is in flight at a soft stop still gets its answer.
    pub fn run(self: &Arc<Self>, deliver: Deliver, stop: &Stop) -> tokio::task::JoinSet<()> {
        let mut tasks = tokio::task::JoinSet::new();
        for number in 0..self.lanes.len() {
            let (batcher, stop) = (self.clone(), stop.clone());
            tasks.spawn(async move {
                tokio::select! {
                    () = publish::run(&batcher, number as u16) => {}
                    () = stop.ended() => {}
                }
            });
        }
        let (batcher, stop) = (self.clone(), stop.clone());
        tasks.spawn(async move {
            tokio::select! {
                () = batcher.sweep(deliver) => {}
                () = publish::resend(&batcher) => {}
                () = stop.ended() => {}
            }
        });
        tasks
    }

    async fn sweep(&self, deliver: Deliver) {
        loop {
            tokio::time::sleep(SWEEP).await;
            let now = shared::clock::monotonic();
            let mut sockets = vec![];
            for lane in &self.lanes {
                let mut partition = self.lock(lane);
                let (expired, resent) = partition.sweep(now);
                let (waiting, published) = partition.waiting();
                drop(partition);
                lane.waiting.set(waiting as f64);
                lane.window.set(published as f64);
                if resent > 0 {
                    metrics::counter!("rookery_commands_resent_total", "why" => "time").increment(resent as u64);
                }
                for waiting in expired {
                    metrics::counter!("rookery_commands_timeout_total").increment(1);
                    let refusal = if waiting.perhaps_taken() {
                        Refusal::new(
                            Code::Timeout,
                            "no answer in time: done or not is unknown, and the same id is safe to send again",
                        )
                    } else {
                        Refusal::new(Code::Unavailable, "the command could not be passed on; nothing was done")
                            .retry_after(1)
                    };
                    self.finish(waiting, &Outcome::Refused(refusal), &mut sockets);
                }
                lane.wake.notify_one();
            }
            metrics::gauge!("rookery_commands_in_flight_bytes").set(self.in_flight.load(Ordering::Relaxed) as f64);
            if !sockets.is_empty() {
                deliver(sockets);
            }
        }
    }

    fn finish(&self, done: Waiting, outcome: &Outcome, sockets: &mut Vec<SocketAnswer>) {
        self.in_flight.fetch_sub(done.weight, Ordering::Relaxed);
        tracing::debug!(request.id = &*done.envelope.request_id, command.id = %done.envelope.id,
            command = done.envelope.command.name(), user.id = %done.envelope.actor, ok = matches!(outcome, Outcome::Ok { .. }), "answered");
        metrics::histogram!("rookery_command_seconds").record(done.submitted.elapsed().as_secs_f64());
        for waiter in done.waiters {
            match waiter {
                Waiter::Socket { conn, re } => sockets.push(SocketAnswer { conn, re, outcome: outcome.clone() }),
                // The client has left meanwhile: the command is done all the same.
                Waiter::Rest(sender) => drop(sender.send(outcome.clone())),
            }
        }
    }

    fn lock<'a>(&self, lane: &'a Lane) -> std::sync::MutexGuard<'a, Partition> {
        lane.partition.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
