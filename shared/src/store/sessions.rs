//! Sessions and their refresh tokens: a session is a login on one device, its tokens are one family. Whatever ends
//! sessions writes the outbox row that closes their sockets in the same transaction.
//!
//! Order of locks: the user's row, then sessions. A refresh locks its session only, so everything that happens to one
//! family happens in order.

use super::{Result, Store, StoreError};
use crate::{
    domain::{SESSIONS_PER_USER_MAX, SessionId, UserId},
    event::DurableEvent,
    run_tx,
};
use chrono::{DateTime, Utc};
use deadpool_postgres::Transaction;
use std::time::Duration;
use tokio_postgres::types::Json;
use uuid::Uuid;

/// A session that begins, with the hash of its first refresh token.
pub struct NewSession<'a> {
    pub id: SessionId,
    pub user: UserId,
    /// The client's own name for its device; empty where it has none.
    pub device: &'a str,
    pub address: &'a str,
    pub token_hash: [u8; 32],
    pub token_life: Duration,
}

/// A living session as its user sees it.
pub struct SessionRow {
    pub id: SessionId,
    pub device: String,
    pub address: String,
    pub created_at: DateTime<Utc>,
    pub last_used_at: DateTime<Utc>,
    /// Of its newest refresh token.
    pub refresh_issued_at: DateTime<Utc>,
    pub refresh_expires_at: DateTime<Utc>,
}

/// Which of a user's sessions end.
#[derive(Clone, Copy, Debug)]
pub enum Ending {
    One(SessionId),
    AllBut(SessionId),
    All,
}

/// A refresh token that is to give way to its successor.
pub struct Rotation<'a> {
    pub hash: [u8; 32],
    pub successor: [u8; 32],
    /// What the client says it is; `None` where it says nothing.
    pub device: Option<&'a str>,
    pub address: &'a str,
    pub life: Duration,
    /// Within it the same token gives the same successor.
    pub grace: Duration,
}

/// What came of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rotated {
    /// The successor is the one to use, now or still.
    Done { user: UserId, session: SessionId },
    /// No such token, or it or its session is over.
    Refused,
    /// It was used before, or is on another device: somebody has it who should not, so the session is ended.
    Ended { session: SessionId, why: &'static str },
}

impl Store {
    /// Begins a session of a user whose password was found to be `password_hash`'s: `NotFound` if that has changed since,
    /// or the account was disabled. Returns the sessions that had to end for it (more than 100: the longest unused).
    pub async fn insert_session(&self, new: &NewSession<'_>, password_hash: &str) -> Result<Vec<SessionId>> {
        run_tx!(self, "insert_session", |tx| insert_checked(&tx, new, password_hash).await)
    }

    /// Living sessions, last used first; at most 100 by [`Store::insert_session`].
    pub async fn list_sessions(&self, user: UserId) -> Result<Vec<SessionRow>> {
        let client = self.client().await?;
        let sql =
            "SELECT s.id, s.device, s.address, s.created_at, s.last_used_at, t.issued_at, t.expires_at FROM sessions s
             CROSS JOIN LATERAL (SELECT issued_at, expires_at FROM refresh_tokens WHERE session_id = s.id
                                 ORDER BY issued_at DESC LIMIT 1) t
             WHERE s.user_id = $1 AND s.ended_at IS NULL AND t.expires_at > clock_timestamp()
             ORDER BY s.last_used_at DESC, s.id";
        let statement = client.prepare_cached(sql).await?;
        let rows = client.query(&statement, &[&user.0]).await?;
        let session = |row: &tokio_postgres::Row| SessionRow {
            id: SessionId(row.get(0)),
            device: row.get(1),
            address: row.get(2),
            created_at: row.get(3),
            last_used_at: row.get(4),
            refresh_issued_at: row.get(5),
            refresh_expires_at: row.get(6),
        };
        Ok(rows.iter().map(session).collect())
    }

    /// Sessions that ended within this time.
    pub async fn list_ended_sessions(&self, within: Duration) -> Result<Vec<SessionId>> {
        let client = self.client().await?;
        let sql = "SELECT id FROM sessions WHERE ended_at > clock_timestamp() - make_interval(secs => $1)";
        let rows = client.query(sql, &[&within.as_secs_f64()]).await?;
        Ok(rows.iter().map(|row| SessionId(row.get(0))).collect())
    }

    /// Whose session a refresh token is of, if that lives.
    pub async fn get_session_of_token(&self, hash: [u8; 32]) -> Result<(UserId, SessionId)> {
        let client = self.client().await?;
        let sql = "SELECT s.user_id, s.id FROM refresh_tokens t JOIN sessions s ON s.id = t.session_id
             WHERE t.hash = $1 AND s.ended_at IS NULL";
        let row = client.query_opt(sql, &[&hash.as_slice()]).await?.ok_or(StoreError::NotFound)?;
        Ok((UserId(row.get(0)), SessionId(row.get(1))))
    }

    /// Ends sessions of a user; returns those that lived.
    pub async fn update_sessions_ended(
        &self,
        user: UserId,
        ending: Ending,
        why: &'static str,
    ) -> Result<Vec<SessionId>> {
        run_tx!(self, "update_sessions_ended", |tx| {
            lock_user(&tx, user).await?;
            end_sessions(&tx, user, ending, why).await
        })
    }

    /// Rotates a refresh token. Any number at once for one token have one outcome.
    pub async fn update_refresh_token(&self, rotation: &Rotation<'_>) -> Result<Rotated> {
        run_tx!(self, "update_refresh_token", |tx| rotate(&tx, rotation).await)
    }
}

/// Two that end several sessions of one user must not take them in different orders.
pub(super) async fn lock_user(tx: &Transaction<'_>, user: UserId) -> Result<()> {
    let statement = tx.prepare_cached("SELECT 1 FROM users WHERE id = $1 FOR NO KEY UPDATE").await?;
    tx.query_opt(&statement, &[&user.0]).await?;
    Ok(())
}

async fn insert_checked(tx: &Transaction<'_>, new: &NewSession<'_>, password_hash: &str) -> Result<Vec<SessionId>> {
    let sql = "SELECT 1 FROM users WHERE id = $1 AND password_hash = $2 AND disabled_at IS NULL FOR NO KEY UPDATE";
    let statement = tx.prepare_cached(sql).await?;
    tx.query_opt(&statement, &[&new.user.0, &password_hash]).await?.ok_or(StoreError::NotFound)?;
    let surplus = "UPDATE sessions SET ended_at = clock_timestamp(), ended_why = 'surplus' WHERE id IN (
             SELECT id FROM sessions WHERE user_id = $1 AND ended_at IS NULL ORDER BY last_used_at DESC, id DESC OFFSET $2)
         RETURNING id";
    let statement = tx.prepare_cached(surplus).await?;
    let rows = tx.query(&statement, &[&new.user.0, &(SESSIONS_PER_USER_MAX as i64 - 1)]).await?;
    let ended: Vec<SessionId> = rows.iter().map(|row| SessionId(row.get(0))).collect();
    append_ended(tx, &ended).await?;
    insert_in(tx, new).await?;
    Ok(ended)
}

pub(super) async fn insert_in(tx: &Transaction<'_>, new: &NewSession<'_>) -> Result<()> {
    let sql = "WITH session AS (INSERT INTO sessions (id, user_id, device, address) VALUES ($1, $2, $3, $4))
         INSERT INTO refresh_tokens (hash, session_id, expires_at)
         VALUES ($5, $1, clock_timestamp() + make_interval(secs => $6))";
    let statement = tx.prepare_cached(sql).await?;
    let life = new.token_life.as_secs_f64();
    tx.execute(&statement, &[&new.id.0, &new.user.0, &new.device, &new.address, &new.token_hash.as_slice(), &life])
        .await?;
    Ok(())
}

pub(super) async fn end_sessions(
    tx: &Transaction<'_>,
    user: UserId,
    ending: Ending,
    why: &'static str,
) -> Result<Vec<SessionId>> {
    let (one, but) = match ending {
        Ending::One(session) => (Some(session.0), None),
        Ending::AllBut(session) => (None, Some(session.0)),
        Ending::All => (None, None),
    };
    let sql = "UPDATE sessions SET ended_at = clock_timestamp(), ended_why = $4
         WHERE user_id = $1 AND ended_at IS NULL AND ($2::uuid IS NULL OR id = $2) AND ($3::uuid IS NULL OR id <> $3)
         RETURNING id";
    let statement = tx.prepare_cached(sql).await?;
    let rows = tx.query(&statement, &[&user.0, &one, &but, &why]).await?;
    let ended: Vec<SessionId> = rows.iter().map(|row| SessionId(row.get(0))).collect();
    append_ended(tx, &ended).await?;
    Ok(ended)
}

/// The outbox row that closes sockets. No worker's yet: the next relay takes it.
pub(super) async fn append_ended(tx: &Transaction<'_>, sessions: &[SessionId]) -> Result<()> {
    if sessions.is_empty() {
        return Ok(());
    }
    let events = Json(vec![DurableEvent::SessionsEnded(sessions.to_vec())]);
    let statement = tx.prepare_cached("INSERT INTO outbox (id, worker, events) VALUES ($1, 0, $2)").await?;
    tx.execute(&statement, &[&Uuid::now_v7(), &events]).await?;
    Ok(())
}

/// A token and its session as they are while the session is locked.
struct Family {
    user: UserId,
    session: SessionId,
    device: String,
    /// The session has ended, or the account is disabled.
    over: bool,
    expired: bool,
    used: bool,
    /// Used, and longer ago than the grace.
    stale: bool,
    /// The successor that the caller derived is in place.
    succeeded: bool,
}

enum Step {
    Refuse,
    End(&'static str),
    Repeat,
    Rotate,
}

impl Family {
    fn step(&self, device: Option<&str>) -> Step {
        let elsewhere = !self.device.is_empty() && device.is_some_and(|device| device != self.device);
        match () {
            () if self.over => Step::Refuse,
            () if elsewhere => Step::End("device"),
            () if self.stale => Step::End("reuse"),
            () if self.used && self.succeeded => Step::Repeat,
            () if self.used || self.expired => Step::Refuse,
            () => Step::Rotate,
        }
    }
}

async fn rotate(tx: &Transaction<'_>, rotation: &Rotation<'_>) -> Result<Rotated> {
    let Some(family) = lock_family(tx, rotation).await? else { return Ok(Rotated::Refused) };
    let (user, session) = (family.user, family.session);
    match family.step(rotation.device) {
        Step::Refuse => Ok(Rotated::Refused),
        Step::Repeat => Ok(Rotated::Done { user, session }),
        Step::End(why) => {
            end_sessions(tx, user, Ending::One(session), why).await?;
            Ok(Rotated::Ended { session, why })
        }
        Step::Rotate => {
            let sql = "WITH used AS (UPDATE refresh_tokens SET used_at = clock_timestamp() WHERE hash = $1),
                      seen AS (UPDATE sessions SET last_used_at = clock_timestamp(), address = $4 WHERE id = $3)
                 INSERT INTO refresh_tokens (hash, session_id, expires_at)
                 VALUES ($2, $3, clock_timestamp() + make_interval(secs => $5))";
            let statement = tx.prepare_cached(sql).await?;
            let (hash, successor) = (rotation.hash.as_slice(), rotation.successor.as_slice());
            tx.execute(&statement, &[&hash, &successor, &session.0, &rotation.address, &rotation.life.as_secs_f64()])
                .await?;
            Ok(Rotated::Done { user, session })
        }
    }
}

/// Two statements, because the second must see what the previous holder of the lock committed.
async fn lock_family(tx: &Transaction<'_>, rotation: &Rotation<'_>) -> Result<Option<Family>> {
    let sql = "SELECT s.user_id, s.id, s.device, s.ended_at IS NOT NULL OR u.disabled_at IS NOT NULL
         FROM sessions s JOIN users u ON u.id = s.user_id
         WHERE s.id = (SELECT session_id FROM refresh_tokens WHERE hash = $1) FOR UPDATE OF s";
    let statement = tx.prepare_cached(sql).await?;
    let hash = rotation.hash.as_slice();
    let Some(session) = tx.query_opt(&statement, &[&hash]).await? else { return Ok(None) };
    let sql = "SELECT t.expires_at <= clock_timestamp(), t.used_at IS NOT NULL,
             coalesce(t.used_at < clock_timestamp() - make_interval(secs => $2), false),
             EXISTS (SELECT 1 FROM refresh_tokens next WHERE next.hash = $3 AND next.session_id = t.session_id)
         FROM refresh_tokens t WHERE t.hash = $1";
    let statement = tx.prepare_cached(sql).await?;
    let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 3] =
        [&hash, &rotation.grace.as_secs_f64(), &rotation.successor.as_slice()];
    let Some(token) = tx.query_opt(&statement, &parameters).await? else { return Ok(None) };
    Ok(Some(Family {
        user: UserId(session.get(0)),
        session: SessionId(session.get(1)),
        device: session.get(2),
        over: session.get(3),
        expired: token.get(0),
        used: token.get(1),
        stale: token.get(2),
        succeeded: token.get(3),
    }))
}
