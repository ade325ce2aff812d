//! How the processes of a cluster are, as a file in the data directory: the launcher writes it at every change, `status`,
//! `logs` and `reload` read it. It is as true as the launcher is alive, which the data directory's lock decides.

use super::Role;
use crate::data_dir::{DataDir, Owner};
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Processes {
    /// Its pid.
    pub launcher: i32,
    pub services: Vec<Service>,
    pub processes: Vec<Entry>,
    pub reload: Option<Reload>,
}

/// Beside the processes: PostgreSQL, Redis, RabbitMQ.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Service {
    pub name: String,
    /// The launcher looks after it. The default is for the file of a launcher of an earlier version.
    #[serde(default)]
    pub is_ours: bool,
    /// `None`: not ours, or dead at the moment.
    pub pid: Option<u32>,
    /// When it was started, in Unix seconds, if it is ours and lives.
    #[serde(default)]
    pub since: Option<u64>,
    /// Where it keeps its files, or the setting that names it.
    pub place: String,
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Entry {
    pub name: String,
    pub role: Role,
    pub state: State,
    /// Of the last state, where there is something to say.
    pub why: Option<String>,
    pub pid: Option<u32>,
    /// When this life of it began, in Unix seconds.
    pub since: u64,
    pub restarts: u32,
    /// How its last life ended.
    pub last_end: Option<String>,
    /// `http://…` with its health and metrics.
    pub probe: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    Starting,
    Ready,
    NotReady,
    /// Told to end, and sending everybody elsewhere.
    Draining,
    /// Ended unasked; started again after a pause.
    Dead,
}

impl State {
    pub fn words(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::NotReady => "not ready",
            Self::Draining => "draining",
            Self::Dead => "dead, will be started again",
        }
    }
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Reload {
    /// Counts the reloads of one launcher.
    pub number: u32,
    pub outcome: Outcome,
    pub words: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Running,
    Done,
    /// The new processes are gone, the old ones are as they were.
    Failed,
}

/// The file's owner: writes it where it has changed, and takes it away at the end.
pub struct Board {
    path: PathBuf,
    shown: Option<Processes>,
}

impl Board {
    pub fn of(data: &DataDir) -> Self {
        Self { path: data.processes(), shown: None }
    }

    pub fn show(&mut self, processes: Processes) -> Result<()> {
        if self.shown.as_ref() == Some(&processes) {
            return Ok(());
        }
        let draft = self.path.with_extension("json.new");
        let text = serde_json::to_string_pretty(&processes).context("cannot write down how the processes are")?;
        // Under another name first: whoever reads it finds it whole.
        std::fs::write(&draft, text + "\n").with_context(|| format!("cannot write {}", draft.display()))?;
        std::fs::rename(&draft, &self.path).with_context(|| format!("cannot write {}", self.path.display()))?;
        self.shown = Some(processes);
        Ok(())
    }
}

impl Drop for Board {
    fn drop(&mut self) {
        drop(std::fs::remove_file(&self.path));
    }
}

/// Of the cluster that this owner looks after; `None` if he looks after none: one process, or still at its services.
pub fn of(data: &DataDir, owner: &Owner) -> Result<Option<Processes>> {
    let path = data.processes();
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    let processes: Processes =
        serde_json::from_str(&text).with_context(|| format!("{} is not as it should be", path.display()))?;
    // A killed launcher leaves its file behind.
    Ok((processes.launcher == owner.pid).then_some(processes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_is_read_and_belongs_to_its_launcher() {
        let directory = tempfile::tempdir().unwrap();
        let data = DataDir::at(directory.path());
        let processes = Processes { launcher: 7, services: vec![], processes: vec![], reload: None };
        let owner = |pid| Owner { pid, since: 0, address: None };
        assert_eq!(of(&data, &owner(7)).unwrap(), None);
        let mut board = Board::of(&data);
        board.show(processes.clone()).unwrap();
        assert_eq!(of(&data, &owner(7)).unwrap(), Some(processes));
        assert_eq!(of(&data, &owner(8)).unwrap(), None);
        drop(board);
        assert_eq!(of(&data, &owner(7)).unwrap(), None);
    }
}
