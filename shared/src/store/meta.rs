//! The epoch within which positions are valid, and whether the database answers.

use super::{Result, Store};

/// The epoch in a statement that has `meta` with the key `epoch` as `e`.
pub(super) const EPOCH: &str = "e.value || '.' || (SELECT timeline_id FROM pg_control_checkpoint())";

impl Store {
    /// The database's own epoch joined with PostgreSQL's timeline: a restore changes the first, a failover the second.
    pub async fn get_epoch(&self) -> Result<String> {
        let row =
            self.client().await?.query_one(&format!("SELECT {EPOCH} FROM meta e WHERE e.key = 'epoch'"), &[]).await?;
        Ok(row.get(0))
    }

    /// A new epoch: every client reads everything anew. For a database that was restored.
    pub async fn update_epoch(&self) -> Result<()> {
        self.client()
            .await?
            .execute("UPDATE meta SET value = gen_random_uuid()::text WHERE key = 'epoch'", &[])
            .await?;
        Ok(())
    }

    /// Which database this is: of which server, and where in it. What was restored from a dump is another one; a copy of the
    /// server's files is the same, because a failover leads to just that.
    pub async fn get_identity(&self) -> Result<String> {
        let sql = "SELECT concat_ws('/', (SELECT system_identifier FROM pg_control_system()),
                       (SELECT oid FROM pg_database WHERE datname = current_database()), current_schema())";
        Ok(self.client().await?.query_one(sql, &[]).await?.get(0))
    }

    pub async fn ping(&self) -> Result<()> {
        self.client().await?.query_one("SELECT 1", &[]).await?;
        Ok(())
    }

    /// Connections of the pool: in use, open, at most.
    pub fn pool_status(&self) -> (usize, usize, usize) {
        let status = self.pool.status();
        (status.size - status.available.min(status.size), status.size, status.max_size)
    }
}
