//! The outbox: what must still be handed on, written in the transaction that caused it. Rows name their worker, which
//! holds an advisory lock while it lives; whoever relays takes over rows of the dead at once, and any row after a while.

use super::{Result, Session, Store};
use crate::domain::{ConversationId, Place};
use crate::event::DurableEvent;
use tokio_postgres::Row;
use uuid::Uuid;

/// The first key of every worker's advisory lock; the second is the worker's own.
const WORKER_LOCKS: i32 = 0x526f_6f6b;

/// A row that was taken over.
pub struct OutboxRow {
    pub id: Uuid,
    pub events: Vec<DurableEvent>,
}

/// A worker's proof of life: held as long as this connection is.
pub struct WorkerLock {
    session: Session,
    pub key: i64,
}

impl WorkerLock {
    pub async fn acquire(store: &Store, key: i32) -> Result<Self> {
        let session = store.session("rookery worker lock").await?;
        session.client.query("SELECT pg_advisory_lock($1, $2)", &[&WORKER_LOCKS, &key]).await?;
        Ok(Self { session, key: i64::from(key) })
    }

    /// Resolves when the connection has ended, and with it the lock.
    pub async fn closed(&mut self) {
        self.session.closed().await;
    }
}

impl Store {
    /// Takes over what nobody living will hand on: rows whose worker's lock is not held, and rows older than
    /// `overdue_seconds`. At most 500 at once, oldest first. Committed before anything is done with them.
    pub async fn update_outbox_owner(&self, me: i64, overdue_seconds: f64) -> Result<Vec<OutboxRow>> {
        let rows = self
            .client()
            .await?
            .query(
                "UPDATE outbox SET worker = $1, at = clock_timestamp() WHERE id IN (
                     SELECT id FROM outbox WHERE at < clock_timestamp() - make_interval(secs => $2)
                         OR worker NOT IN (SELECT objid::bigint FROM pg_locks
                                           WHERE locktype = 'advisory' AND classid = $3::int::oid AND granted)
                     ORDER BY at LIMIT 500 FOR UPDATE SKIP LOCKED)
                 RETURNING id, events, moved, moved_from, moved_to",
                &[&me, &overdue_seconds, &WORKER_LOCKS],
            )
            .await?;
        Ok(rows.iter().map(outbox_row).collect())
    }

    pub async fn delete_outbox(&self, ids: &[Uuid]) -> Result<()> {
        self.client().await?.execute("DELETE FROM outbox WHERE id = ANY($1)", &[&ids]).await?;
        Ok(())
    }

    /// Rows waiting, and the age of the oldest in seconds.
    pub async fn get_outbox_lag(&self) -> Result<(i64, f64)> {
        let sql = "SELECT count(*), coalesce(extract(epoch FROM clock_timestamp() - min(at)), 0)::float8 FROM outbox";
        let row = self.client().await?.query_one(sql, &[]).await?;
        Ok((row.get(0), row.get(1)))
    }
}

fn outbox_row(row: &Row) -> OutboxRow {
    let id = row.get(0);
    let mut events: Vec<DurableEvent> = serde_json::from_value(row.get(1)).unwrap_or_else(|error| {
        // Written by another version: what it points to is still found by everybody's next sync.
        tracing::error!(%error, outbox.id = %id, "an outbox row is unreadable");
        vec![]
    });
    let (moved, from, to): (Vec<Uuid>, Vec<i64>, Vec<i64>) = (row.get(2), row.get(3), row.get(4));
    let moved = moved.into_iter().zip(from.into_iter().zip(to));
    let event =
        |(id, (from, to))| DurableEvent::Conversation { id: ConversationId(id), from: Place(from), to: Place(to) };
    events.extend(moved.map(event));
    OutboxRow { id, events }
}
