//! What presence needs of the database: who may see whom, and when somebody was last here.

use super::{Result, Store};
use crate::domain::{SessionId, UserId};
use chrono::{DateTime, Utc};
use uuid::Uuid;

impl Store {
    /// Those of `others` who share a conversation with `user`.
    pub async fn list_acquainted(&self, user: UserId, others: &[UserId]) -> Result<Vec<UserId>> {
        let ids: Vec<Uuid> = others.iter().map(|other| other.0).collect();
        let client = self.client().await?;
        let statement = client
            .prepare_cached(
                "SELECT o.id FROM unnest($2::uuid[]) AS o(id) WHERE EXISTS (
                     SELECT FROM members theirs JOIN members mine USING (conversation_id)
                     WHERE theirs.user_id = o.id AND mine.user_id = $1)",
            )
            .await?;
        Ok(client.query(&statement, &[&user.0, &ids]).await?.iter().map(|row| UserId(row.get(0))).collect())
    }

    /// When each of these people last used any session; in no order.
    pub async fn list_last_seen(&self, users: &[UserId]) -> Result<Vec<(UserId, DateTime<Utc>)>> {
        let ids: Vec<Uuid> = users.iter().map(|user| user.0).collect();
        let sql = "SELECT user_id, max(last_used_at) FROM sessions WHERE user_id = ANY($1) GROUP BY user_id";
        Ok(self.client().await?.query(sql, &[&ids]).await?.iter().map(|row| (UserId(row.get(0)), row.get(1))).collect())
    }

    /// These sessions were used until just now.
    pub async fn update_sessions_seen(&self, sessions: &[SessionId]) -> Result<()> {
        let ids: Vec<Uuid> = sessions.iter().map(|session| session.0).collect();
        self.client()
            .await?
            .execute("UPDATE sessions SET last_used_at = clock_timestamp() WHERE id = ANY($1)", &[&ids])
            .await?;
        Ok(())
    }
}
