//! Gateways and workers as processes of their own, over RabbitMQ and Redis: what `rookery up --cluster` starts and looks
//! after, and what `rookery gateway` and `rookery worker` are under any other supervisor.
//!
//! One process (`process`): it ends with its launcher (`tether`), takes its port or is handed it (`port`), waits for what
//! is away and says so (`readiness`). All of them (`launcher`): each is made by the `blueprint`, lives as a `member`,
//! shows its warnings on the `console`; how they all are is in a file (`processes`). `engines` are the services beside.

pub mod blueprint;
pub mod console;
pub mod engines;
pub mod launcher;
mod member;
pub mod port;
pub mod process;
pub mod processes;
mod readiness;
mod reload;
pub mod tether;

use serde::{Deserialize, Serialize};
use std::fmt;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    Gateway,
    Worker,
}

impl Role {
    pub fn name(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Worker => "worker",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
