//! What the run and its parts say to each other: lines of JSON on the parts' standard input and output.

use super::population::Population;
use serde::{Deserialize, Serialize};

/// The first line to a part. It holds the server's secret, which is why it is no argument.
#[derive(Clone, Serialize, Deserialize)]
pub struct Brief {
    pub url: String,
    pub sources: u8,
    pub population: Population,
    /// The people of this part: from, and up to.
    pub first: u32,
    pub end: u32,
    /// A real access token and what signs it, for those of the crowd.
    pub pattern: String,
    pub secret: String,
    /// The longest pause before the first attempt to come back.
    pub jitter_ms: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Order {
    /// Connect everybody and say hello, no more.
    Open,
    /// Let everybody sync once.
    Sync,
    /// Tell how everybody fared; the heads are conversations by number and the `seq` that each stands at, all others
    /// stand at 0.
    Report { heads: Vec<(u32, u64)> },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum News {
    Opened {
        people: u32,
    },
    Synced {
        people: u32,
        syncs: u64,
    },
    /// How many have lost their socket so far, and how many of these are back.
    Standing {
        lost: u32,
        back: u32,
    },
    Report(Box<Fates>),
    Failed {
        why: String,
    },
}

/// How a part's people fared since `Sync`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Fates {
    pub returns: Vec<Return>,
    /// Attempts to connect that failed, by their reason.
    pub failures: Vec<(String, u64)>,
    pub syncs: u64,
    /// Conversations that syncs brought news of.
    pub moved: u64,
    pub resyncs: u64,
    /// Events before which one was missing, without a word about it.
    pub holes: u64,
    /// People who do not have everything of their conversations.
    pub behind: u32,
    pub behind_example: Option<String>,
}

/// One person's way back, in microseconds of the wall clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Return {
    pub lost_us: u64,
    pub connected_us: u64,
    /// Hello was answered.
    pub greeted_us: u64,
    /// Has everything again.
    pub back_us: u64,
    pub attempts: u32,
}
