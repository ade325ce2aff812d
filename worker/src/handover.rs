//! Handing over what was committed: events and answers to the gateways, pointers to the bus. One batch after the other,
//! so that a sequencer's events leave in order, while the next batch commits. The bus acknowledges commands only after
//! this; what does not get through is the relay's, from the outbox.

use crate::Shared;
use shared::{
    bus::Acks, domain::ConversationId, event::DurableEvent, fanout::Group, lifecycle::Backoff, store::StoreError,
};
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{sync::mpsc, task::JoinHandle};
use uuid::Uuid;

/// Committed batches that wait to be handed over; when it is full the sequencer waits.
const WAITING_MAX: usize = 2;
/// Rows whose pointers wait for the bus's word; beyond it they are left to the relay.
const POINTERS_WAITING_MAX: usize = 1024;
/// How long the gateways are tried before the relay is left to say `resync`.
const HANDOVER_TIME: Duration = Duration::from_secs(3);

/// What one transaction has stored, and what is to be said of it.
#[derive(Default)]
pub struct Committed {
    pub groups: Vec<Group>,
    /// The outbox row and what it points to, if the transaction wrote one.
    pub outbox: Option<(Uuid, Vec<DurableEvent>)>,
    pub acks: Vec<(Arc<dyn Acks>, u64)>,
    /// A conversation whose members have changed.
    pub forget: Option<ConversationId>,
}

/// Outbox rows that are done: the next append deletes them in its own transaction, or the relay when none comes.
#[derive(Default)]
pub struct HandedOn {
    rows: Mutex<Vec<Uuid>>,
}

impl HandedOn {
    pub fn add(&self, row: Uuid) {
        self.lock().push(row);
    }

    pub fn take(&self) -> Vec<Uuid> {
        std::mem::take(&mut *self.lock())
    }

    pub fn give_back(&self, rows: Vec<Uuid>) {
        self.lock().extend(rows);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Uuid>> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One sequencer's way out.
pub struct Handover {
    sender: mpsc::Sender<Committed>,
    task: JoinHandle<()>,
}

impl Handover {
    pub fn start(shared: Arc<Shared>) -> Self {
        let (sender, receiver) = mpsc::channel(WAITING_MAX);
        Self { sender, task: tokio::spawn(run(shared, receiver)) }
    }

    /// An error only when the task has panicked: the outbox has what was stored, the answers come when the batch does.
    pub async fn give(&self, committed: Committed) -> Result<(), StoreError> {
        self.sender.send(committed).await.map_err(|_| StoreError::Broken("the handover has ended".to_owned()))
    }

    /// Hands over what was given, for as long as this at most.
    pub async fn finish(self, at_most: Duration) {
        drop(self.sender);
        if tokio::time::timeout(at_most, self.task).await.is_err() {
            tracing::warn!("not everything was handed over in time; another worker's relay will");
        }
    }
}

async fn run(shared: Arc<Shared>, mut committed: mpsc::Receiver<Committed>) {
    let (pointers, waiting) = mpsc::channel(POINTERS_WAITING_MAX);
    let publisher = tokio::spawn(publish(shared.clone(), waiting));
    while let Some(next) = committed.recv().await {
        let begun = shared::clock::monotonic();
        let done = hand_on(&shared, &next).await;
        metrics::histogram!("rookery_handover_seconds").record(begun.elapsed().as_secs_f64());
        if let (true, Some(row)) = (done, next.outbox)
            && pointers.try_send(row).is_err()
        {
            metrics::counter!("rookery_handover_left_to_relay_total", "why" => "bus").increment(1);
        }
        for (acks, tag) in &next.acks {
            if let Err(error) = acks.ack(*tag).await {
                tracing::debug!(%error, "an acknowledgement did not get through: the batch comes again and changes nothing");
            }
        }
    }
    drop(pointers);
    let _ = publisher.await;
}

/// True when every gateway has it.
async fn hand_on(shared: &Shared, committed: &Committed) -> bool {
    if let Some(conversation) = committed.forget {
        shared.fanout.audiences().forget(conversation);
    }
    let mut why = "no answer in time".to_owned();
    let tries = async {
        let mut backoff = Backoff::default();
        while let Err(error) = shared.fanout.hand_on(&committed.groups).await {
            why = error.to_string();
            tokio::time::sleep(backoff.next()).await;
        }
    };
    if tokio::time::timeout(HANDOVER_TIME, tries).await.is_ok() {
        return true;
    }
    tracing::warn!(why, "what was stored cannot be told to the gateways; the relay will");
    metrics::counter!("rookery_handover_left_to_relay_total", "why" => "routing").increment(1);
    false
}

/// Gives the pointers to the bus. In one process that resolves when every role has handled them, so it must not hold up
/// the events behind it: many at once.
async fn publish(shared: Arc<Shared>, mut waiting: mpsc::Receiver<(Uuid, Vec<DurableEvent>)>) {
    let mut under_way = tokio::task::JoinSet::new();
    loop {
        tokio::select! {
            row = waiting.recv(), if under_way.len() < POINTERS_WAITING_MAX => {
                let Some((row, events)) = row else { break };
                let shared = shared.clone();
                under_way.spawn(async move {
                    match shared.bus.publish_events(events).await {
                        Ok(()) => shared.handed_on.add(row),
                        Err(error) => tracing::debug!(%error, "the bus did not take a pointer; the relay gives it again"),
                    }
                });
            }
            Some(_) = under_way.join_next() => {}
        }
    }
    while under_way.join_next().await.is_some() {}
}
