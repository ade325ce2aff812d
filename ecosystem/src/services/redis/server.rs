//! The server: what it is started with, and when it takes commands.

use super::{KIND, SOCKET_NAME};
use crate::services::place::{Place, percent_encoded};
use crate::services::{Kind, Server, account};
use anyhow::{Context, Result};
use rustix::process::Pid;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

/// For an answer of a server that has just started.
const ANSWER: Duration = Duration::from_secs(2);

#[derive(Clone, Debug)]
pub struct Redis {
    pub place: Place,
    pub program: PathBuf,
    pub max_memory_mib: u32,
}

pub fn url(place: &Place) -> String {
    format!("redis+unix://{}", percent_encoded(&socket(place), b"/"))
}

fn socket(place: &Place) -> PathBuf {
    place.sockets().join(SOCKET_NAME)
}

impl Server for Redis {
    fn kind(&self) -> &'static Kind {
        &KIND
    }

    fn place(&self) -> &Place {
        &self.place
    }

    fn url(&self) -> String {
        url(&self.place)
    }

    /// Everything as arguments: there is no file that somebody could have edited.
    fn command(&self) -> Command {
        let data = self.place.data();
        let mut command = account::command(&self.program, self.place.account.as_ref(), &data);
        // Reached through a socket that only this user (and root) can open, and not through the network at all.
        command.args(["--port", "0"]).arg("--unixsocket").arg(socket(&self.place)).args(["--unixsocketperm", "700"]);
        command.arg("--dir").arg(&data);
        // Soft state: whoever wrote it writes it again after a loss, and a snapshot would cost a fork.
        command.args(["--save", "", "--appendonly", "no"]);
        command.args(["--maxmemory", &format!("{}mb", self.max_memory_mib), "--maxmemory-policy", "noeviction"]);
        command.args(["--daemonize", "no", "--loglevel", "notice"]);
        command
    }

    /// A socket that nobody listens on is replaced by the next server, but until then looks like a server.
    fn clear(&self) -> Result<()> {
        let socket = socket(&self.place);
        match std::fs::remove_file(&socket) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("cannot remove {}", socket.display()))
            }
            _ => Ok(()),
        }
    }

    fn is_ready(&self, _pid: Pid) -> bool {
        let ping = || -> std::io::Result<bool> {
            let mut stream = UnixStream::connect(socket(&self.place))?;
            stream.set_read_timeout(Some(ANSWER))?;
            stream.write_all(b"PING\r\n")?;
            let mut answer = [0; 7];
            stream.read_exact(&mut answer)?;
            Ok(&answer == b"+PONG\r\n")
        };
        ping().unwrap_or(false)
    }
}
