//! Throwing away on a schedule, by one worker at a time: an advisory lock says who, the row of the task when it was last
//! done to its end. `statement_timestamp`, because an index serves no bound that changes from row to row. In steps of a bounded size, each a transaction: whoever is killed in between has done what he has
//! done, and the next worker goes on.

use super::{Result, Store, sessions};
use crate::{
    domain::{CleanUp, ENDED_SESSION_KEPT, SESSION_IDLE_MAX, SessionId, UserId},
    run_tx,
};
use chrono::{DateTime, Utc};
use deadpool_postgres::Transaction;
use std::collections::BTreeMap;
use tokio_postgres::Row;
use uuid::Uuid;

/// Rows of one step.
const STEP: i64 = 1_000;
/// The first half of the locks' names; the second is the task.
const LOCK: i32 = 0x636c_6561;

/// What a step came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cleaned {
    /// Somebody else is at it.
    Busy,
    NotDue,
    /// So many rows, and there may be more.
    Step(u64),
    /// So many, and that was all.
    Done(u64),
}

impl Store {
    /// When each was last done to its end, and whether it is due.
    pub async fn list_clean_ups(&self) -> Result<Vec<(CleanUp, DateTime<Utc>, bool)>> {
        let sql = "SELECT task, done_at, statement_timestamp() FROM clean_ups";
        let rows = self.client().await?.query(sql, &[]).await?;
        let found = |row: &Row| {
            let (name, done_at): (&str, DateTime<Utc>) = (row.get(0), row.get(1));
            let task = CleanUp::ALL.into_iter().find(|task| task.name() == name)?;
            Some((task, done_at, task.is_due(done_at, row.get(2))))
        };
        Ok(rows.iter().filter_map(found).collect())
    }

    /// One step of a task, if it is due.
    pub async fn clean_up(&self, task: CleanUp) -> Result<Cleaned> {
        run_tx!(self, "clean_up", |tx| step(&tx, task).await)
    }
}

/// By the database's clock: a worker whose own is wrong would put off the others.
async fn step(tx: &Transaction<'_>, task: CleanUp) -> Result<Cleaned> {
    let lock = tx.query_one("SELECT pg_try_advisory_xact_lock($1, $2)", &[&LOCK, &(task as i32)]).await?;
    if !lock.get::<_, bool>(0) {
        return Ok(Cleaned::Busy);
    }
    let sql = "SELECT done_at, statement_timestamp() FROM clean_ups WHERE task = $1";
    let row = tx.query_opt(sql, &[&task.name()]).await?;
    if !row.is_some_and(|row| task.is_due(row.get(0), row.get(1))) {
        return Ok(Cleaned::NotDue);
    }
    let rows = match task {
        CleanUp::ExpiredTokens => delete_expired_tokens(tx).await?,
        CleanUp::IdleSessions => end_idle_sessions(tx).await?,
        CleanUp::EndedSessions => delete_ended_sessions(tx).await?,
    };
    if rows >= STEP as u64 {
        return Ok(Cleaned::Step(rows));
    }
    tx.execute("UPDATE clean_ups SET done_at = statement_timestamp() WHERE task = $1", &[&task.name()]).await?;
    Ok(Cleaned::Done(rows))
}

/// A token that a refresh holds just now is left for the next time.
async fn delete_expired_tokens(tx: &Transaction<'_>) -> Result<u64> {
    let sql = "DELETE FROM refresh_tokens WHERE hash IN (
             SELECT hash FROM refresh_tokens WHERE expires_at < statement_timestamp() LIMIT $1 FOR UPDATE SKIP LOCKED)";
    Ok(tx.execute(sql, &[&STEP]).await?)
}

/// Where tokens live longer than that (`REFRESH_EXPIRES_IN`), as long as they do. Users first, in order, as whoever else ends several sessions; then once more, because one may have been used meanwhile.
async fn end_idle_sessions(tx: &Transaction<'_>) -> Result<u64> {
    let idle = SESSION_IDLE_MAX.as_secs_f64();
    let sql = "SELECT user_id, id FROM sessions s WHERE ended_at IS NULL
             AND last_used_at < statement_timestamp() - make_interval(secs => $1)
             AND NOT EXISTS (SELECT FROM refresh_tokens t WHERE t.session_id = s.id AND t.expires_at > statement_timestamp())
         ORDER BY last_used_at LIMIT $2";
    let rows = tx.query(sql, &[&idle, &STEP]).await?;
    let mut found: BTreeMap<Uuid, Vec<Uuid>> = BTreeMap::new();
    rows.iter().for_each(|row| found.entry(row.get(0)).or_default().push(row.get(1)));
    for user in found.keys() {
        sessions::lock_user(tx, UserId(*user)).await?;
    }
    let sql = "UPDATE sessions SET ended_at = clock_timestamp(), ended_why = 'idle' WHERE id = ANY($1)
             AND ended_at IS NULL AND last_used_at < statement_timestamp() - make_interval(secs => $2) RETURNING id";
    let ids: Vec<Uuid> = found.into_values().flatten().collect();
    let ended = tx.query(sql, &[&ids, &idle]).await?;
    let ended: Vec<SessionId> = ended.iter().map(|row| SessionId(row.get(0))).collect();
    sessions::append_ended(tx, &ended).await?;
    Ok(rows.len() as u64)
}

async fn delete_ended_sessions(tx: &Transaction<'_>) -> Result<u64> {
    let sql = "DELETE FROM sessions WHERE id IN (
             SELECT id FROM sessions WHERE ended_at < statement_timestamp() - make_interval(secs => $1)
             LIMIT $2 FOR UPDATE SKIP LOCKED)";
    Ok(tx.execute(sql, &[&ENDED_SESSION_KEPT.as_secs_f64(), &STEP]).await?)
}
