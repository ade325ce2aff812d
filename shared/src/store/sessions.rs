//! Sessions and their refresh tokens.

use super::{Result, Store};
use crate::domain::SessionId;
use std::time::Duration;
use uuid::Uuid;

impl Store {
    /// Sessions that ended within this time.
    pub async fn list_ended_sessions(&self, within: Duration) -> Result<Vec<SessionId>> {
        let client = self.client().await?;
        let sql = "SELECT id FROM sessions WHERE ended_at > clock_timestamp() - make_interval(secs => $1)";
        let rows = client.query(sql, &[&within.as_secs_f64()]).await?;
        Ok(rows.iter().map(|row| SessionId(row.get::<_, Uuid>(0))).collect())
    }
}
