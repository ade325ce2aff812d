//! From what the store says to what a client hears. Logged here, once: a client gets the code, the log the reason.

use shared::{
    domain::COMMAND_DEADLINE,
    reply::{Code, Refusal},
    store::StoreError,
};
use std::{future::Future, time::Duration};

/// Seconds after which a request refused for a part that is away is worth repeating.
pub const RETRY_AWAY: u32 = 1;

/// For a read: as long as a command has, and the five seconds after which PostgreSQL itself gives a statement up. One
/// that is stopped, or behind a network that swallows everything, says nothing at all.
pub const READ_TIME: Duration = Duration::from_secs(COMMAND_DEADLINE.as_secs() + 5);

/// What reads from PostgreSQL, or its refusal when nothing comes.
pub async fn in_time<T>(reading: impl Future<Output = Result<T, Refusal>>) -> Result<T, Refusal> {
    tokio::time::timeout(READ_TIME, reading).await.unwrap_or_else(|_| {
        tracing::warn!("PostgreSQL does not answer");
        Err(Refusal::new(Code::Unavailable, "the database does not answer").retry_after(RETRY_AWAY))
    })
}

/// The refusal for a failure that the caller has no better words for.
pub fn of_store(error: StoreError) -> Refusal {
    match error {
        StoreError::NotFound => Refusal::not_found(),
        StoreError::Conflict(constraint) => {
            tracing::debug!(constraint, "refused by a unique constraint");
            Refusal::new(Code::Conflict, "taken already")
        }
        StoreError::Unavailable(reason) => {
            tracing::warn!(reason, "PostgreSQL is unavailable");
            Refusal::new(Code::Unavailable, "the database is away").retry_after(RETRY_AWAY)
        }
        StoreError::Data(reason) => {
            tracing::warn!(reason, "PostgreSQL refused the data");
            Refusal::new(Code::Invalid, "the database refuses these values")
        }
        StoreError::Broken(reason) => {
            tracing::error!(reason, "a query failed");
            Refusal::new(Code::Internal, "something went wrong on our side")
        }
    }
}
