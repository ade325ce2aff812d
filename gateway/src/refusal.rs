//! From what the store says to what a client hears. Logged here, once: a client gets the code, the log the reason.

use shared::{
    reply::{Code, Refusal},
    store::StoreError,
};

/// Seconds after which a request refused for a part that is away is worth repeating.
pub const RETRY_AWAY: u32 = 1;

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
