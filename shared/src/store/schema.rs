//! The schema: migrations by one command and at start, under a lock (the runner takes none), and the refusal to run on
//! a schema or a server that would break a promise.

use super::{Result, Store, StoreError};

mod embedded {
    refinery::embed_migrations!("../migrations");
}

/// Any constant of ours; two programs that start together migrate one after the other.
const MIGRATION_LOCK: i64 = 0x526f_6f6b_6572_7900;

/// Changes with the text of any step: names the tests' template.
pub(super) fn fingerprint() -> u64 {
    embedded::migrations::runner().get_migrations().iter().fold(0, |all, step| all.rotate_left(7) ^ step.checksum())
}

impl Store {
    /// Applies what is missing; returns how many steps that were.
    pub async fn migrate(&self) -> Result<usize> {
        let mut client = self.client().await?;
        client.batch_execute("SET statement_timeout = 0; SET lock_timeout = 0").await?;
        client.execute("SELECT pg_advisory_lock($1)", &[&MIGRATION_LOCK]).await?;
        let report = embedded::migrations::runner().set_grouped(false).run_async(&mut **client).await;
        client.execute("SELECT pg_advisory_unlock($1)", &[&MIGRATION_LOCK]).await?;
        client.batch_execute("RESET statement_timeout; RESET lock_timeout").await?;
        match report {
            Ok(report) => Ok(report.applied_migrations().len()),
            Err(error) => Err(StoreError::Broken(format!("migration failed: {error}"))),
        }
    }

    /// Which step the database is at, and which one this program knows.
    pub async fn schema_versions(&self) -> Result<(i32, i32)> {
        let client = self.client().await?;
        let known =
            embedded::migrations::runner().get_migrations().iter().map(|step| step.version()).max().unwrap_or(0);
        let table = client.query_one("SELECT to_regclass('refinery_schema_history') IS NOT NULL", &[]).await?;
        if !table.get::<_, bool>(0) {
            return Ok((0, known));
        }
        let row = client.query_one("SELECT coalesce(max(version), 0)::int FROM refinery_schema_history", &[]).await?;
        Ok((row.get(0), known))
    }

    /// Refuses a schema that is not the one this program was written for, and a server that may lose what it confirmed.
    /// Expand, then contract: a newer schema is fine as long as its step says that it only expands; until a step says
    /// otherwise, newer by one is accepted, so that a rolling upgrade can migrate first.
    pub async fn check(&self) -> Result<()> {
        let (at, known) = self.schema_versions().await?;
        if at < known || at > known + 1 {
            return Err(StoreError::Broken(format!(
                "the database's schema is at step {at}, this program knows step {known}: run `rookery migrate`"
            )));
        }
        let client = self.client().await?;
        let fsync: String = client.query_one("SHOW fsync", &[]).await?.get(0);
        if fsync != "on" {
            return Err(StoreError::Broken(
                "fsync is off in PostgreSQL: an answered message could be lost; switch it on".into(),
            ));
        }
        Ok(())
    }
}
