//! What a person who looks after the server wants to know of it (`rookery doctor`): version, rights, clock, and the
//! settings that decide whether a commit is durable.

use super::{Result, Store};
use chrono::{DateTime, Utc};

/// One look at the server, over one connection of the pool.
#[derive(Clone, Debug)]
pub struct ServerFacts {
    pub version: String,
    pub major: i32,
    pub fsync: bool,
    pub full_page_writes: bool,
    pub data_checksums: bool,
    /// As our own sessions have it.
    pub synchronous_commit: String,
    /// A standby: nothing can be written.
    pub read_only: bool,
    pub max_connections: i32,
    pub connections: i64,
    /// Whether this user may make tables where ours belong.
    pub may_create: bool,
    /// Its wall clock, at some moment of the call.
    pub clock: DateTime<Utc>,
    pub database_bytes: i64,
}

impl Store {
    pub async fn get_server_facts(&self) -> Result<ServerFacts> {
        let row = self
            .client()
            .await?
            .query_one(
                "SELECT current_setting('server_version') AS version,
                        current_setting('server_version_num')::int / 10000 AS major,
                        current_setting('fsync')::bool AS fsync,
                        current_setting('full_page_writes')::bool AS full_page_writes,
                        current_setting('data_checksums')::bool AS data_checksums,
                        current_setting('synchronous_commit') AS synchronous_commit,
                        pg_is_in_recovery() AS read_only,
                        current_setting('max_connections')::int AS max_connections,
                        (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend') AS connections,
                        coalesce(has_schema_privilege(current_schema(), 'CREATE'), false) AS may_create,
                        clock_timestamp() AS clock,
                        pg_database_size(current_database()) AS database_bytes",
                &[],
            )
            .await?;
        Ok(ServerFacts {
            version: row.get("version"),
            major: row.get("major"),
            fsync: row.get("fsync"),
            full_page_writes: row.get("full_page_writes"),
            data_checksums: row.get("data_checksums"),
            synchronous_commit: row.get("synchronous_commit"),
            read_only: row.get("read_only"),
            max_connections: row.get("max_connections"),
            connections: row.get("connections"),
            may_create: row.get("may_create"),
            clock: row.get("clock"),
            database_bytes: row.get("database_bytes"),
        })
    }
}
