//! The server: what it is started with, and when it takes connections.
//!
//! The start script becomes `erl` and then the Erlang machine by exec, all in one process, which is what our signals and
//! the kernel's reach. Of the system's RabbitMQ nothing is used: no file under `/etc/rabbitmq`, no cookie, and no `epmd`,
//! the daemon that would outlive everybody: a node that does not listen for other nodes needs none, nor a name that
//! differs from others'.

use super::KIND;
use super::access::{Access, USER};
use crate::services::launch::LOG_BYTES;
use crate::services::place::Place;
use crate::services::{Kind, Server, account};
use anyhow::{Context, Result};
use rustix::process::Pid;
use std::ffi::OsString;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

/// The name is part of the data: another one would be an empty server.
const NODE: &str = "rookery@localhost";
const LOG: &str = "rabbitmq.log";
/// Where the server finds its files: in its working directory, whatever that is called. Several of its parts cannot bear
/// letters beyond ASCII in a path, and a data directory that was moved is the same one to it.
const HERE: &str = "/proc/self/cwd";
/// For an answer of a server that has just started.
const ANSWER: Duration = Duration::from_secs(2);
const PROTOCOL_HEADER: &[u8; 8] = b"AMQP\x00\x00\x09\x01";
/// Of a method frame on channel 0: type 1, channel (2 bytes), size (4); then class 10, method 10: `connection.start`
/// (AMQP 0-9-1, sections 4.2.3 and 1.4).
const START_FRAME_BYTES: usize = 11;

#[derive(Clone, Debug)]
pub struct RabbitMq {
    pub place: Place,
    pub program: PathBuf,
    pub access: Access,
    pub schedulers: u32,
    /// Where Erlang may be, beside the usual places.
    pub search: Vec<PathBuf>,
}

impl RabbitMq {
    /// Anew at each start, so that a home made by an older rookery gets today's settings.
    pub fn write_settings(&self) -> Result<()> {
        self.write("rabbitmq.conf", &self.settings())?;
        self.write("enabled_plugins", "[].\n")
    }

    fn settings(&self) -> String {
        let (port, password) = (self.access.port, &self.access.password);
        let lines = [
            format!("listeners.tcp.1 = {}:{port}", Ipv4Addr::LOCALHOST),
            // Made with the data, in place of `guest`.
            format!("default_user = {USER}"),
            format!("default_pass = {password}"),
            "log.console = false".to_owned(),
            format!("log.file = {LOG}"),
            format!("log.file.rotation.size = {LOG_BYTES}"),
            "log.file.rotation.count = 1".to_owned(),
            // Publishers are stopped below it; the default suits a machine that has nothing else to do.
            "disk_free_limit.absolute = 50MB".to_owned(),
            "vm_memory_high_watermark.relative = 0.2".to_owned(),
        ];
        lines.join("\n") + "\n"
    }

    fn write(&self, name: &str, content: &str) -> Result<()> {
        let path = self.place.data().join(name);
        let no_follow = rustix::fs::OFlags::NOFOLLOW.bits();
        let mut options = std::fs::File::options();
        options.create(true).truncate(true).write(true).mode(0o600).custom_flags(no_follow as i32);
        let written = options.open(&path).and_then(|mut file| file.write_all(content.as_bytes()));
        written.with_context(|| format!("cannot write {}", path.display()))?;
        account::give(&path, self.place.account.as_ref())
    }

    fn erlang_arguments(&self) -> String {
        let threads = self.schedulers;
        [
            // Named at its start, so that RabbitMQ does not do it, which would start `epmd` first.
            format!("-sname {NODE} -start_epmd false -dist_listen false"),
            // RabbitMQ asks `epmd` once a minute where its own node is. With this Erlang answers by itself, and nobody
            // ever connects to the port.
            "-erl_epmd_port 1".to_owned(),
            // As many threads as it may have cores, and none that spins while it waits.
            format!("+S {threads}:{threads} +sbwt none +sbwtdcpu none +sbwtdio none"),
        ]
        .join(" ")
    }

    fn search_path(&self) -> OsString {
        let mut path = OsString::from("/usr/bin:/bin:/usr/local/bin");
        for directory in &self.search {
            path.push(":");
            path.push(directory);
        }
        path
    }
}

impl Server for RabbitMq {
    fn kind(&self) -> &'static Kind {
        &KIND
    }

    fn place(&self) -> &Place {
        &self.place
    }

    fn url(&self) -> String {
        self.access.url()
    }

    fn command(&self) -> Command {
        let data = self.place.data();
        let mut command = account::command(&self.program, self.place.account.as_ref(), &data);
        // For Erlang's cookie, which it makes there.
        command.env("HOME", HERE).env("PATH", self.search_path());
        command.env("ERL_CRASH_DUMP_BYTES", "0");
        // Otherwise the script keeps a shell as the parent of the server, for signals that we send to the server itself.
        command.env("RUNNING_UNDER_SYSTEMD", "true");
        command.env("RABBITMQ_NODENAME", NODE).env("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", self.erlang_arguments());
        for (name, file) in [
            // Not there; named so that the system's is not read.
            ("RABBITMQ_CONF_ENV_FILE", "rabbitmq-env.conf"),
            ("RABBITMQ_ADVANCED_CONFIG_FILE", "advanced.config"),
            ("RABBITMQ_CONFIG_FILE", "rabbitmq.conf"),
            ("RABBITMQ_ENABLED_PLUGINS_FILE", "enabled_plugins"),
            ("RABBITMQ_MNESIA_BASE", "mnesia"),
            ("RABBITMQ_LOG_BASE", "log"),
            ("RABBITMQ_PID_FILE", "server.pid"),
            ("RABBITMQ_GENERATED_CONFIG_DIR", "config"),
            ("RABBITMQ_SCHEMA_DIR", "schema"),
        ] {
            command.env(name, format!("{HERE}/{file}"));
        }
        command
    }

    /// Nothing of a killed one is in the way.
    fn clear(&self) -> Result<()> {
        Ok(())
    }

    /// It listens when everything else is done, and then says so in its protocol.
    fn is_ready(&self, _pid: Pid) -> bool {
        let greet = || -> std::io::Result<bool> {
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.access.port));
            let mut stream = TcpStream::connect_timeout(&address, ANSWER)?;
            stream.set_read_timeout(Some(ANSWER))?;
            stream.write_all(PROTOCOL_HEADER)?;
            let mut frame = [0; START_FRAME_BYTES];
            stream.read_exact(&mut frame)?;
            Ok(frame[..3] == [1, 0, 0] && frame[7..] == [0, 10, 0, 10])
        };
        greet().unwrap_or(false)
    }

    fn logs(&self) -> Vec<PathBuf> {
        vec![self.place.server_log(), self.place.data().join("log").join(LOG)]
    }
}
