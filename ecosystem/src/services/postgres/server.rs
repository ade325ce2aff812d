//! The server on its cluster: what it is started with, what a killed one leaves behind, and when it takes connections.

use super::{KIND, SOCKET_NAME, SUPERUSER};
use crate::services::place::{Place, percent_encoded};
use crate::services::{Kind, Server, account};
use anyhow::{Context, Result, bail};
use rustix::process::Pid;
use std::path::PathBuf;
use std::process::Command;

#[derive(Clone, Debug)]
pub struct Postgres {
    pub place: Place,
    pub program: PathBuf,
    pub arguments: Vec<String>,
}

/// A URL with the directory of the socket as its host, which takes any path. The database `postgres` is made by initdb;
/// the cluster is ours alone, so no other is needed.
pub fn url(place: &Place) -> String {
    format!("postgres://{SUPERUSER}@{}/postgres?sslmode=disable", percent_encoded(place.sockets(), b""))
}

impl Server for Postgres {
    fn kind(&self) -> &'static Kind {
        &KIND
    }

    fn place(&self) -> &Place {
        &self.place
    }

    fn url(&self) -> String {
        url(&self.place)
    }

    fn command(&self) -> Command {
        let mut command = account::command(&self.program, self.place.account.as_ref(), &self.place.home);
        command.arg("-D").arg(self.place.data()).args(&self.arguments);
        command
    }

    /// The pid file and the socket's lock file stop the next server. One that somebody has started by hand does not hold
    /// our lock, so it is looked for once more.
    fn clear(&self) -> Result<()> {
        if let Some(pid) = self.earlier()? {
            let (cluster, pid) = (self.place.data(), pid.as_raw_nonzero());
            bail!("a server that rookery has not started works in {} (pid {pid})", cluster.display());
        }
        let socket = self.place.sockets().join(SOCKET_NAME);
        let socket_lock = self.place.sockets().join(format!("{SOCKET_NAME}.lock"));
        for file in [self.pid_file(), socket, socket_lock] {
            match std::fs::remove_file(&file) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(error).with_context(|| format!("cannot remove {}", file.display()));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The last line of its file says so (what `pg_ctl --wait` reads).
    fn is_ready(&self, pid: Pid) -> bool {
        let its_own = self.pid_file_line(0).is_some_and(|line| line == pid.as_raw_nonzero().to_string());
        its_own && self.pid_file_line(7).is_some_and(|line| line == "ready")
    }

    /// The process that `postmaster.pid` names, if it is alive and really works on this cluster: both are in its
    /// command line, which everybody may read and which a zombie does not have.
    fn earlier(&self) -> Result<Option<Pid>> {
        use std::os::unix::ffi::OsStrExt;
        let Some(pid) = self.pid_file_line(0).and_then(|line| line.parse().ok()).and_then(Pid::from_raw) else {
            return Ok(None);
        };
        let command_line = std::fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).unwrap_or_default();
        let cluster = self.place.data();
        let ours = command_line.split(|byte| *byte == 0).any(|argument| argument == cluster.as_os_str().as_bytes());
        Ok(ours.then_some(pid))
    }
}

impl Postgres {
    fn pid_file(&self) -> PathBuf {
        self.place.data().join("postmaster.pid")
    }

    fn pid_file_line(&self, line: usize) -> Option<String> {
        let text = std::fs::read_to_string(self.pid_file()).ok()?;
        text.lines().nth(line).map(|line| line.trim().to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pid_file_with_the_number_of_an_unrelated_process_names_nobody() {
        let home = tempfile::tempdir().unwrap();
        let place = Place::resolve(home.path(), home.path(), &KIND).unwrap();
        std::fs::create_dir(place.data()).unwrap();
        std::fs::write(place.data().join("postmaster.pid"), format!("{}\n", std::process::id())).unwrap();
        let server = Postgres { place, program: "postgres".into(), arguments: Vec::new() };
        assert!(server.earlier().unwrap().is_none());
        server.clear().unwrap();
        assert!(!server.pid_file().exists());
    }
}
