//! The internal messages of a cluster: what gateways and workers of different machines, and for the time of an upgrade of
//! different versions, tell each other through RabbitMQ and Redis.
//!
//! Each begins with a version and is read as if a stranger had written it: nothing here panics, allocates by a length
//! that is not backed by bytes, or accepts more than [`MESSAGE_MAX`]. Numbers are big-endian. What only some versions
//! know has a length in front of it and is passed over: a command that is not known becomes [`Command::Unknown`] and is
//! refused, an event that is not known is passed on by its name, an item that is not known is left out.
//!
//! Texts of clients (a message's JSON) are bytes with a length, made once and never parsed on the way.
//!
//! [`Command::Unknown`]: crate::command::Command::Unknown

mod commands;
mod entries;
mod events;
mod reader;

pub use commands::{decode_batch, encode_batch};
pub use entries::{decode_entry, encode_entry};
pub use events::{decode_event, encode_event};

use thiserror::Error;

/// Bytes of one message at most, in either direction. The largest of ours, a batch of [`BATCH_BYTES_MAX`] whose texts
/// JSON has escaped, is below 1 MiB.
///
/// [`BATCH_BYTES_MAX`]: crate::domain::BATCH_BYTES_MAX
pub const MESSAGE_MAX: usize = 4 << 20;

/// What old and new programs agree on. Raised only when an old one must not read the new form at all.
const VERSION: u8 = 1;

/// Why a message cannot be read. It is counted, named in the log without its content, and dropped.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum WireError {
    #[error("it has version {0}, this program reads {VERSION}")]
    Version(u8),
    #[error("it is larger than {MESSAGE_MAX} bytes")]
    TooLarge,
    #[error("it ends in the middle")]
    Short,
    #[error("{0} is not as it should be")]
    Malformed(&'static str),
}
