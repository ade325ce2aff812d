//! The whole database held against what the append's path does not check for the sake of speed: no holes, no orphans,
//! heads that agree with rows. `rookery doctor` and the fault tests ask it; a finding is a broken promise.
//!
//! Everything is seen in one snapshot, so it may run beside a busy server: what a transaction is just writing is either
//! whole or not there.

mod checks;

use super::{Result, Store};
use checks::CHECKS;
use deadpool_postgres::GenericClient;
use std::fmt;
use tokio_postgres::IsolationLevel;

/// How many examples a finding names at most.
pub const EXAMPLES_MAX: i64 = 5;

/// Something that must not be, and how often it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// A stable word for programs.
    pub check: &'static str,
    /// What should be true.
    pub promise: &'static str,
    pub count: i64,
    pub examples: Vec<String>,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}): {}", self.promise, self.check, self.count)?;
        self.examples.iter().try_for_each(|example| write!(f, "\n  {example}"))
    }
}

/// How many checks [`Store::verify`] makes.
pub fn checks() -> usize {
    CHECKS.len()
}

impl Store {
    /// Every check; empty is good. Reads every row: minutes on a large database, without locking anything.
    pub async fn verify(&self) -> Result<Vec<Finding>> {
        let mut client = self.client().await?;
        let tx =
            client.build_transaction().isolation_level(IsolationLevel::RepeatableRead).read_only(true).start().await?;
        tx.batch_execute("SET LOCAL statement_timeout = 0").await?;
        let findings = find(&tx).await?;
        tx.commit().await?;
        Ok(findings)
    }
}

async fn find(client: &impl GenericClient) -> Result<Vec<Finding>> {
    let mut findings = vec![];
    for check in &CHECKS {
        let sql = format!(
            "WITH bad (example) AS MATERIALIZED ({})
             SELECT (SELECT count(*) FROM bad), array(SELECT example FROM bad ORDER BY example LIMIT {EXAMPLES_MAX})",
            check.sql
        );
        let row = client.query_one(sql.as_str(), &[]).await?;
        let count = row.get(0);
        if count > 0 {
            findings.push(Finding { check: check.name, promise: check.promise, count, examples: row.get(1) });
        }
    }
    Ok(findings)
}

#[cfg(test)]
mod tests;
