//! The relay: hands on what a worker committed and could not hand on itself, because it died, or because Redis or the
//! bus was away. Never the events themselves, whose moment has passed: sockets are told `resync` for the conversation,
//! the bus gets the pointers.

pub mod life;

use crate::Shared;
use shared::{
    bus::PublishError,
    domain::{ConversationId, Place, SessionId, UserId},
    event::DurableEvent,
    fanout::FanoutError,
    lifecycle::Stop,
    store::{StoreError, outbox::OutboxRow},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use thiserror::Error;

const EVERY: Duration = Duration::from_millis(500);
/// A living worker's row that is older than this is taken over too.
const OVERDUE_SECONDS: f64 = 5.0;
/// Conversations whose members are looked up, and told, at once.
const CONVERSATIONS_AT_ONCE: usize = 256;

#[derive(Debug, Error)]
enum RelayError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Fanout(#[from] FanoutError),
    #[error(transparent)]
    Bus(#[from] PublishError),
}

pub async fn run(shared: Arc<Shared>, stop: Stop) {
    // Taken over and not handed on yet: ours, and not taken again until they are overdue.
    let mut rows = vec![];
    while !stop.is_stopped() {
        if let Err(error) = turn(&shared, &mut rows).await {
            tracing::debug!(%error, "the relay waits");
        }
        stop.sleep(EVERY).await;
    }
}

async fn turn(shared: &Shared, rows: &mut Vec<OutboxRow>) -> Result<(), RelayError> {
    tidy(shared).await?;
    loop {
        if rows.is_empty() {
            *rows = shared.store.update_outbox_owner(i64::from(shared.life.key()), OVERDUE_SECONDS).await?;
            metrics::counter!("rookery_relay_rows_total").increment(rows.len() as u64);
        }
        if rows.is_empty() {
            return Ok(());
        }
        hand_on(shared, rows).await?;
    }
}

/// Deletes the rows that are done, where no append did.
pub async fn tidy(shared: &Shared) -> Result<(), StoreError> {
    let done = shared.handed_on.take();
    if done.is_empty() {
        return Ok(());
    }
    let deleted = shared.store.delete_outbox(&done).await;
    if deleted.is_err() {
        shared.handed_on.give_back(done);
    }
    deleted
}

/// Everybody whom some rows concern: each is told once, whatever number of rows says so.
#[derive(Default)]
struct Concerned {
    conversations: BTreeMap<ConversationId, Place>,
    users: BTreeSet<UserId>,
    sessions: Vec<SessionId>,
}

impl Concerned {
    fn add(&mut self, event: &DurableEvent) {
        match event {
            DurableEvent::Conversation { id, to, .. } => {
                let place = self.conversations.entry(*id).or_insert(*to);
                *place = (*place).max(*to);
            }
            DurableEvent::User { id, .. } => {
                self.users.insert(*id);
            }
            DurableEvent::SessionsEnded(sessions) => self.sessions.extend(sessions),
        }
    }
}

/// All of these rows; after an error what is left of them comes again: each part is harmless when repeated.
async fn hand_on(shared: &Shared, rows: &mut Vec<OutboxRow>) -> Result<(), RelayError> {
    let mut concerned = Concerned::default();
    rows.iter().flat_map(|row| &row.events).for_each(|event| concerned.add(event));
    let conversations: Vec<(ConversationId, Place)> = concerned.conversations.into_iter().collect();
    for some in conversations.chunks(CONVERSATIONS_AT_ONCE) {
        shared.fanout.resync(some).await?;
    }
    if !concerned.users.is_empty() {
        shared.fanout.resync_users(&concerned.users.into_iter().collect::<Vec<_>>()).await?;
    }
    if !concerned.sessions.is_empty() {
        shared.fanout.sessions_ended(concerned.sessions.into()).await?;
    }
    while let Some(row) = rows.last() {
        shared.bus.publish_events(row.events.clone()).await?;
        shared.handed_on.add(row.id);
        rows.pop();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_conversation_of_many_rows_is_told_of_once_up_to_the_last_place() {
        let (one, other, user) = (ConversationId::new(), ConversationId::new(), UserId::new());
        let of = |id, to| DurableEvent::Conversation { id, from: Place(0), to: Place(to) };
        let mut concerned = Concerned::default();
        for event in [of(one, 7), of(other, 2), of(one, 9), of(one, 8), DurableEvent::User { id: user, urev: 1 }] {
            concerned.add(&event);
        }
        concerned.add(&DurableEvent::User { id: user, urev: 2 });
        assert_eq!(concerned.conversations, BTreeMap::from([(one, Place(9)), (other, Place(2))]));
        assert_eq!(concerned.users, BTreeSet::from([user]));
    }
}
