//! What a run needs on the server before it starts: accounts with fresh tokens, and rooms.
//!
//! Everything goes through the public interface. Registering costs the server a password hash each (about 35 ms of a
//! core) and is limited per address, so accounts and rooms are kept in a state file and used again by the next run.

pub mod rooms;
pub mod state;
pub mod token;
pub mod users;

use crate::http::Server;
use anyhow::Result;
use clap::Args;
use shared::clock;
use state::State;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Where the server is, and how accounts are come by.
#[derive(Args, Clone, Debug)]
#[group(skip)]
pub struct Options {
    /// Address of the server (http only)
    #[arg(long, default_value = "http://127.0.0.1:3000")]
    pub url: String,
    /// Keep accounts, tokens and rooms in this file and use them again in the next run (it holds passwords: mode 0600)
    #[arg(long, value_name = "FILE")]
    pub state: Option<PathBuf>,
    /// Give up setting up after so many seconds
    #[arg(long, default_value_t = 300, value_name = "SECS", value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub setup_seconds: u64,
}

/// The server with its accounts.
pub struct World {
    pub server: Server,
    pub state: State,
    path: Option<PathBuf>,
    /// For each part of the set-up.
    limit: Duration,
    sources: u8,
}

impl World {
    /// Loads the state file, if there is one of this server.
    pub fn open(options: &Options, sources: u8) -> Result<Self> {
        let server = Server::parse(&options.url)?;
        let state = match &options.state {
            Some(path) => State::load(path, &server.authority)?,
            None => State::new(&server.authority),
        };
        let limit = Duration::from_secs(options.setup_seconds);
        Ok(Self { server, state, path: options.state.clone(), limit, sources })
    }

    /// Sees to it that there are `count` accounts whose access tokens live for `lifetime` at least.
    pub async fn need_users(&mut self, count: usize, lifetime: Duration) -> Result<()> {
        let deadline = clock::monotonic() + self.limit;
        let outcome = users::ensure(&self.server, &mut self.state, count, lifetime, self.sources, deadline).await;
        self.save()?;
        outcome
    }

    /// Sees to it that there is a room for each list of members (indexes of users), and returns their ids.
    pub async fn need_rooms(&mut self, wanted: &[Vec<usize>]) -> Result<Vec<String>> {
        let deadline = clock::monotonic() + self.limit;
        let outcome = rooms::ensure(&self.server, &mut self.state, wanted, self.sources, deadline).await;
        self.save()?;
        outcome
    }

    /// The access tokens of the first `count` accounts.
    pub fn tokens(&self, count: usize) -> Vec<Arc<str>> {
        self.state.users[..count].iter().map(|user| Arc::from(user.access_token.as_str())).collect()
    }

    fn save(&self) -> Result<()> {
        self.path.as_ref().map_or(Ok(()), |path| self.state.save(path))
    }
}
