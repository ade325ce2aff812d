//! PostgreSQL, the truth. This file: pool, schema, named and retried transactions, and what an error means to the
//! caller. All SQL of the project is in the files below it, by noun.
//!
//! One order of locks everywhere: conversations by id, user streams by id, members, messages by id; nothing locks a
//! conversation after anything else, and nothing waits for Redis or RabbitMQ inside a transaction.

pub mod append;
pub mod apply;
pub mod audience;
pub mod clean_up;
pub mod conversations;
mod dial;
pub mod inspect;
pub mod members;
pub mod messages;
pub mod meta;
pub mod outbox;
pub mod presence;
pub(crate) mod rows;
pub mod schema;
pub mod sessions;
pub mod sync;
pub mod testing;
pub mod users;
pub mod verify;

use crate::config::StoreConfig;
use deadpool_postgres::{Connect, Manager, ManagerConfig, Pool, RecyclingMethod, Runtime, Timeouts};
use dial::Dial;
use std::{error::Error as _, sync::Arc, time::Duration};
use thiserror::Error;
use tokio_postgres::{Client, error::SqlState};

/// An error as a decision for the caller.
#[derive(Debug, Error)]
pub enum StoreError {
    #[error("not found")]
    NotFound,
    /// A unique constraint refused it; its name says which.
    #[error("conflicts with {0}")]
    Conflict(String),
    /// Will pass: the server is away, shutting down, out of connections, or a lock was not had in time. Try again.
    #[error("PostgreSQL is unavailable: {0}")]
    Unavailable(String),
    /// The data itself is refused (SQLSTATE 22 or 23): trying again gives the same.
    #[error("PostgreSQL refuses the data: {0}")]
    Data(String),
    /// Ours: a statement that does not fit the schema, a row that does not fit the code.
    #[error("{0}")]
    Broken(String),
}

impl StoreError {
    pub fn is_unavailable(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }
}

impl From<tokio_postgres::Error> for StoreError {
    fn from(error: tokio_postgres::Error) -> Self {
        let Some(db) = error.as_db_error() else {
            // A conversion that fails is ours; everything else without a SQLSTATE is the connection.
            let text = error.to_string();
            return if text.contains("serializing") || text.contains("deserializing") || text.contains("invalid column")
            {
                Self::Broken(text)
            } else {
                // The error says "error connecting to server", its cause why.
                Self::Unavailable(error.source().map_or(text.clone(), |cause| format!("{text}: {cause}")))
            };
        };
        let code = db.code();
        // Never the detail: it quotes the row, and a row can be a message's text.
        let text = format!("{} ({})", db.message(), code.code());
        match code.code().get(..2) {
            _ if *code == SqlState::UNIQUE_VIOLATION => Self::Conflict(db.constraint().unwrap_or("?").to_owned()),
            Some("22" | "23") => Self::Data(text),
            // 08 connection, 40 rollback, 53 resources, 55 lock not available, 57 operator, 58 system
            Some("08" | "25" | "40" | "53" | "55" | "57" | "58" | "XX") => Self::Unavailable(text),
            _ => Self::Broken(text),
        }
    }
}

impl From<deadpool_postgres::PoolError> for StoreError {
    fn from(error: deadpool_postgres::PoolError) -> Self {
        match error {
            deadpool_postgres::PoolError::Backend(error) => error.into(),
            other => Self::Unavailable(other.to_string()),
        }
    }
}

pub type Result<T, E = StoreError> = std::result::Result<T, E>;

/// A pool of connections for requests; workers that need a connection of their own ask for a [`Session`].
#[derive(Clone)]
pub struct Store {
    pool: Pool,
    config: Arc<StoreConfig>,
}

/// A connection with one owner: a sequencer's, or one that holds an advisory lock.
pub struct Session {
    client: Client,
    driver: tokio::task::JoinHandle<()>,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Session {
    /// Resolves when the connection has ended. Cancel safe.
    pub async fn closed(&mut self) {
        if !self.driver.is_finished() {
            let _ = (&mut self.driver).await;
        }
    }
}

impl Store {
    /// Opens no connection yet: programs start in any order.
    pub fn new(config: &StoreConfig) -> Result<Self> {
        let pg = pg_config(config, "rookery")?;
        let recycling = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let pool = Pool::builder(Manager::from_connect(pg, Dial::new()?, recycling))
            .max_size(config.pool)
            .runtime(Runtime::Tokio1)
            .timeouts(Timeouts {
                wait: Some(Duration::from_secs(5)),
                create: Some(Duration::from_secs(5)),
                recycle: Some(Duration::from_secs(2)),
            })
            .build()
            .map_err(|error| StoreError::Broken(error.to_string()))?;
        Ok(Self { pool, config: Arc::new(config.clone()) })
    }

    /// A connection outside the pool; `name` is what `pg_stat_activity` shows.
    pub async fn session(&self, name: &str) -> Result<Session> {
        let (client, driver) = Dial::new()?.connect(&pg_config(&self.config, name)?).await?;
        Ok(Session { client, driver })
    }

    async fn client(&self) -> Result<deadpool_postgres::Object> {
        Ok(self.pool.get().await?)
    }
}

/// Runs `work` as one transaction of this name, again (twice at most) where it lost a race that a second try settles.
#[macro_export]
macro_rules! run_tx {
    ($store:expr, $name:literal, |$tx:ident| $work:expr) => {{
        let mut tries = 0;
        loop {
            let result: $crate::store::Result<_> = async {
                let mut client = $store.client().await?;
                let $tx = client.transaction().await?;
                let value = $work?;
                $tx.commit().await?;
                Ok(value)
            }
            .await;
            match result {
                Err($crate::store::StoreError::Unavailable(why)) if why.contains("(40") && tries < 2 => {
                    tries += 1;
                    metrics::counter!("rookery_store_retries_total", "tx" => $name).increment(1);
                }
                result => break result,
            }
        }
    }};
}

/// Is this an address that [`Store::new`] will take?
pub fn check_url(url: &str) -> std::result::Result<(), String> {
    url.parse::<tokio_postgres::Config>().map(|_| ()).map_err(|error| error.to_string())
}

/// The server's own guards on every connection: a stopped or blackholed client must not hold row locks for long.
fn pg_config(config: &StoreConfig, name: &str) -> Result<tokio_postgres::Config> {
    let mut pg: tokio_postgres::Config =
        config.url.expose().parse().map_err(|error| StoreError::Broken(format!("DATABASE_URL: {error}")))?;
    pg.application_name(name);
    pg.connect_timeout(Duration::from_secs(5));
    pg.tcp_user_timeout(Duration::from_secs(5));
    pg.keepalives_idle(Duration::from_secs(10));
    // One plan for any parameters: planning a page of `sync` anew costs a fifth of it, and these plans are tested.
    let mut options = String::from(
        "-c synchronous_commit=on -c lock_timeout=2000 -c statement_timeout=5000 \
         -c idle_in_transaction_session_timeout=3000 -c tcp_user_timeout=5000 -c timezone=UTC \
         -c plan_cache_mode=force_generic_plan",
    );
    if let Some(schema) = &config.schema {
        options.push_str(&format!(" -c search_path={schema}"));
    }
    pg.options(&options);
    Ok(pg)
}
