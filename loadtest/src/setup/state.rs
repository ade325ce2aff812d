//! The state file: accounts and rooms of earlier runs against the same server.

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use std::fs;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct User {
    pub id: String,
    pub username: String,
    pub password: String,
    pub access_token: String,
    /// Unix seconds.
    pub access_expires: u64,
    pub refresh_token: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Room {
    pub id: String,
    /// Indexes of users; the first is the owner.
    pub members: Vec<usize>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct State {
    /// `host:port` of the server these belong to.
    server: String,
    pub users: Vec<User>,
    pub rooms: Vec<Room>,
}

impl State {
    pub fn new(server: &str) -> Self {
        Self { server: server.to_owned(), users: Vec::new(), rooms: Vec::new() }
    }

    /// Reads the file; an absent one is an empty state, one of another server an error.
    pub fn load(path: &Path, server: &str) -> Result<Self> {
        let text = match fs::read(path) {
            Ok(text) => text,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Self::new(server)),
            Err(e) => return Err(e).with_context(|| format!("reading {}", path.display())),
        };
        let state: Self = serde_json::from_slice(&text).with_context(|| format!("{} is no state", path.display()))?;
        if state.server != server {
            bail!("{} belongs to {}, not to {server}: name another file", path.display(), state.server);
        }
        let users = state.users.len();
        if state.rooms.iter().flat_map(|room| &room.members).any(|member| *member >= users) {
            bail!("{} names members that it does not hold", path.display());
        }
        Ok(state)
    }

    /// Replaces the file in one step; readable by its owner only.
    pub fn save(&self, path: &Path) -> Result<()> {
        let beside = path.with_extension("part");
        let write = || -> std::io::Result<()> {
            let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
            file.write_all(&serde_json::to_vec(self)?)?;
            fs::rename(&beside, path)
        };
        write().with_context(|| format!("writing {}", path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_kept_and_belongs_to_one_server() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        assert!(State::load(&path, "a:1").unwrap().users.is_empty());
        let mut state = State::new("a:1");
        state.rooms.push(Room { id: "r".to_owned(), members: vec![] });
        state.save(&path).unwrap();
        assert_eq!(State::load(&path, "a:1").unwrap().rooms, state.rooms);
        assert!(State::load(&path, "b:1").is_err());
        state.rooms[0].members.push(3);
        state.save(&path).unwrap();
        assert!(State::load(&path, "a:1").is_err());
    }
}
