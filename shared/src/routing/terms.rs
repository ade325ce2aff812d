//! What all processes of a cluster must have alike: those who differ would lose each other's work without a word. A worker
//! on another database stores there what the gateways then answer; commands in partitions that no worker knows wait for
//! nobody. A copy of the database server's files passes for the original: give it another `CLUSTER_NAME`.

use crate::store::{Store, StoreError};
use std::time::Duration;

/// How long a term holds after the last process that renewed it: then another may come.
pub const TERMS_HOLD: Duration = Duration::from_secs(30);

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Term {
    /// The setting that decides it.
    pub setting: &'static str,
    pub value: String,
}

/// Of a process that works on this database with this many partitions.
pub async fn terms(store: &Store, partitions: u16) -> Result<[Term; 2], StoreError> {
    let database = Term { setting: "DATABASE_URL", value: store.get_identity().await? };
    Ok([database, Term { setting: "PARTITIONS", value: partitions.to_string() }])
}
