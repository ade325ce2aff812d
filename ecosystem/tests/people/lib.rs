//! The people of the fault suites: what they talk in, how their clients behave, and what they and the database hold in the
//! end. Everything that is said, heard and answered goes into one history (`history/`), whatever happens to the servers.
#![allow(dead_code, unused_imports, reason = "each suite uses its part")]

mod client;
mod crowd;
mod dice;
mod holdings;
mod truth;

pub use client::{Client, dial};
pub use crowd::{Crowd, Habits, Phase};
pub use dice::Dice;
pub use truth::read;
