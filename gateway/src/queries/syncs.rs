//! Catching up, in turn: after the loss of a gateway everybody does at once, and whoever only wants to send must not wait
//! behind all of them for PostgreSQL.
//!
//! A few rounds run at a time. Who comes meanwhile waits in line, and the next round takes as many of those as make one
//! statement: alone, nobody waits; in a crowd, those who have missed nothing cost a tenth of a query each.

use crate::{
    refusal::{self, in_time},
    server::pace::give_way,
};
use bytes::Bytes;
use shared::{
    clock,
    domain::{COMMAND_DEADLINE, SYNC_POSITIONS_MAX, UserId},
    reply::{Code, Refusal},
    store::{
        Store,
        sync::{SyncLimits, SyncRequest},
    },
    view,
};
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};
use tokio::sync::{Semaphore, oneshot};

/// At once, per gateway: enough to keep PostgreSQL busy, and few enough that whoever appends is one of few there, too.
const ROUNDS: usize = 2;
/// Of these, in the statement for many: it keeps one of PostgreSQL's cores busy by itself.
const CROWDS: usize = 1;
/// In line, at most: more than a gateway has sockets, each of which waits for one.
const WAITING_MAX: usize = 20_000;
/// Of one round, whatever they ask for: those of them who have missed something are read for one after the other.
const PEOPLE_MAX: usize = 50;
const RETRY_SECONDS: u32 = 2;

#[derive(Clone)]
pub struct Syncs {
    store: Store,
    line: Arc<Mutex<Line>>,
    crowds: Arc<Semaphore>,
}

#[derive(Default)]
struct Line {
    waiting: VecDeque<Waiting>,
    rounds: usize,
}

struct Waiting {
    user: UserId,
    request: SyncRequest,
    since: Instant,
    answer: oneshot::Sender<Result<Bytes, Refusal>>,
}

impl Syncs {
    pub fn new(store: Store) -> Self {
        Self { store, line: Arc::default(), crowds: Arc::new(Semaphore::new(CROWDS)) }
    }

    /// The answer's JSON. Too many in line, or too long in it: nothing was done.
    pub async fn answer(&self, user: UserId, request: SyncRequest) -> Result<Bytes, Refusal> {
        let (answer, answered) = oneshot::channel();
        if lock(&self.line).join(Waiting { user, request, since: clock::monotonic(), answer })? {
            tokio::spawn(Rounds { syncs: self.clone(), ended: false }.run());
        }
        let broken = |_| Refusal::new(Code::Internal, "something went wrong on our side");
        answered.await.unwrap_or_else(|lost| Err(broken(lost)))
    }
}

fn lock(line: &Mutex<Line>) -> MutexGuard<'_, Line> {
    line.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Line {
    /// True: one more round is to be run.
    fn join(&mut self, waiting: Waiting) -> Result<bool, Refusal> {
        if self.waiting.len() >= WAITING_MAX {
            self.waiting.retain(|waiting| !waiting.answer.is_closed());
        }
        if self.waiting.len() >= WAITING_MAX {
            return Err(overloaded());
        }
        self.waiting.push_back(waiting);
        self.tell();
        let is_free = self.rounds < ROUNDS;
        self.rounds += usize::from(is_free);
        Ok(is_free)
    }

    /// Those of the next round, without any who has gone. None: nobody waits, and whoever comes has to begin again.
    fn next(&mut self) -> Option<Vec<Waiting>> {
        let (mut round, mut positions) = (Vec::new(), 0);
        while let Some(first) = self.waiting.front() {
            positions += first.request.positions.len();
            if !round.is_empty() && (positions > SYNC_POSITIONS_MAX || round.len() == PEOPLE_MAX) {
                break;
            }
            round.extend(self.waiting.pop_front().filter(|first| !first.answer.is_closed()));
        }
        self.tell();
        if round.is_empty() {
            self.rounds -= 1;
            return None;
        }
        Some(round)
    }

    fn tell(&self) {
        metrics::gauge!("rookery_syncs_waiting").set(self.waiting.len() as f64);
    }
}

fn overloaded() -> Refusal {
    metrics::counter!("rookery_syncs_refused_total").increment(1);
    Refusal::new(Code::Overloaded, "too many are catching up at once").retry_after(RETRY_SECONDS)
}

/// One after the other, until nobody waits.
struct Rounds {
    syncs: Syncs,
    ended: bool,
}

impl Drop for Rounds {
    /// A panic, or the end of the process.
    fn drop(&mut self) {
        if !self.ended {
            lock(&self.syncs.line).rounds -= 1;
        }
    }
}

impl Rounds {
    async fn run(mut self) {
        loop {
            give_way().await;
            let Some(mut round) = lock(&self.syncs.line).next() else { break };
            if round.len() > 1 {
                round = self.answer_unmoved(round).await;
            }
            for waiting in round {
                if waiting.since.elapsed() > COMMAND_DEADLINE {
                    waiting.end(Err(overloaded()));
                } else if !waiting.answer.is_closed() {
                    let answer = self.read(waiting.user, &waiting.request).await;
                    waiting.end(answer);
                }
            }
        }
        self.ended = true;
    }

    /// Whoever asked may have given up: what does not come in time is given up here, too, or it would hold up the others.
    async fn read(&self, user: UserId, request: &SyncRequest) -> Result<Bytes, Refusal> {
        let read = self.syncs.store.sync(user, request, SyncLimits::default());
        in_time(async { read.await.map(|answer| view::json(&answer)).map_err(refusal::of_store) }).await
    }

    /// Those who have missed something, or of whom that could not be told.
    async fn answer_unmoved(&self, round: Vec<Waiting>) -> Vec<Waiting> {
        let asked: Vec<_> = round.iter().map(|waiting| (waiting.user, &waiting.request)).collect();
        let turn = self.syncs.crowds.acquire().await;
        let found = self.syncs.store.list_unmoved(&asked);
        let answers = in_time(async { found.await.map_err(refusal::of_store) }).await;
        drop(turn);
        let answers = match answers {
            Ok(answers) => answers,
            Err(refusal) => {
                round.into_iter().for_each(|waiting| waiting.end(Err(refusal.clone())));
                return vec![];
            }
        };
        let mut moved = Vec::new();
        for (waiting, answer) in round.into_iter().zip(answers) {
            match answer {
                Some(answer) => waiting.end(Ok(view::json(&answer))),
                None => moved.push(waiting),
            }
        }
        moved
    }
}

impl Waiting {
    fn end(self, answer: Result<Bytes, Refusal>) {
        // Who asked may have gone.
        let _ = self.answer.send(answer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shared::{domain::ConversationId, store::sync::Known};

    fn somebody(positions: usize) -> (Waiting, oneshot::Receiver<Result<Bytes, Refusal>>) {
        let (answer, answered) = oneshot::channel();
        let positions = (0..positions).map(|_| (ConversationId::new(), Known::default())).collect();
        let request = SyncRequest { epoch: None, urev: 0, positions };
        (Waiting { user: UserId::new(), request, since: clock::monotonic(), answer }, answered)
    }

    #[test]
    fn a_few_at_once_and_the_others_wait() {
        let mut line = Line::default();
        let (waiting, answers): (Vec<_>, Vec<_>) = (0..ROUNDS + 2).map(|_| somebody(20)).unzip();
        let begun: Vec<bool> = waiting.into_iter().map(|waiting| line.join(waiting).expect("there is room")).collect();
        assert_eq!(begun, [vec![true; ROUNDS], vec![false; 2]].concat());
        drop(answers);
        assert!(line.next().is_none(), "all of them have gone");
        assert_eq!((line.rounds, line.waiting.len()), (ROUNDS - 1, 0));
        assert!(line.join(somebody(1).0).expect("room"), "and whoever comes begins again");
    }

    #[test]
    fn a_round_is_one_statement() {
        let mut line = Line { rounds: ROUNDS, ..Line::default() };
        let mut answers = vec![];
        for positions in [SYNC_POSITIONS_MAX, 150, 50, 1].into_iter().chain([0; PEOPLE_MAX]) {
            let (waiting, answer) = somebody(positions);
            line.join(waiting).expect("room");
            answers.push(answer);
        }
        let sizes: Vec<usize> = std::iter::from_fn(|| line.next()).map(|round| round.len()).collect();
        assert_eq!(sizes, [1, 2, PEOPLE_MAX, 1]);
    }

    #[test]
    fn the_line_is_bounded() {
        let mut line = Line { rounds: ROUNDS, ..Line::default() };
        let mut answers: Vec<_> = (0..WAITING_MAX)
            .map(|_| {
                let (waiting, answer) = somebody(0);
                line.join(waiting).expect("room");
                answer
            })
            .collect();
        let refusal = line.join(somebody(0).0).expect_err("full");
        assert_eq!((refusal.code, refusal.retry_after), (Code::Overloaded, Some(RETRY_SECONDS)));
        answers.pop();
        assert!(line.join(somebody(0).0).is_ok(), "whoever gave up makes room");
        assert_eq!(line.waiting.len(), WAITING_MAX);
    }
}
