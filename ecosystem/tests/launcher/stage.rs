//! A directory to try the launcher in, and the real program running in it.

use ecosystem::services::Machine;
use ecosystem::services::postgres::url_of;
use shared::config::{Secret, StoreConfig};
use shared::store::Store;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// For anything that has to happen; a machine with other work on it is slow.
pub const DEADLINE: Duration = Duration::from_secs(60);
const PROGRAM: &str = env!("CARGO_BIN_EXE_rookery");

/// An empty directory that every user may walk through, removed at the end.
pub struct Stage {
    directory: tempfile::TempDir,
    program: PathBuf,
    /// The program runs as this uid and gid in place of ours.
    user: Option<(u32, u32)>,
}

impl Stage {
    pub fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o755)).unwrap();
        Self { directory, program: PROGRAM.into(), user: None }
    }

    /// With the program as it is now: who builds it anew meanwhile does not change it.
    pub fn with_a_copy() -> Self {
        let mut stage = Self::new();
        stage.program = stage.path("rookery");
        std::fs::copy(PROGRAM, &stage.program).unwrap();
        stage
    }

    /// Everything belongs to this user, the program too: the build directory may be closed to him.
    pub fn for_user(uid: u32, gid: u32) -> Self {
        let mut stage = Self::with_a_copy();
        std::os::unix::fs::chown(stage.directory.path(), Some(uid), Some(gid)).unwrap();
        stage.user = Some((uid, gid));
        stage
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The program with nothing of this process's settings, in the stage's directory.
    pub fn rookery(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.env_clear().env("PATH", "/usr/bin:/bin").env("ROOKERY_INSTALL", "no").args(arguments);
        command.env("TMPDIR", self.directory.path()).current_dir(self.directory.path()).stdin(Stdio::null());
        if let Some((uid, gid)) = self.user {
            command.uid(uid).gid(gid);
        }
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Output {
        self.rookery(arguments).output().unwrap()
    }

    pub fn up(&self) -> Up {
        self.up_in("data")
    }

    pub fn up_in(&self, data: &str) -> Up {
        self.up_with(data, &[])
    }

    /// With variables of the environment.
    pub fn up_with(&self, data: &str, environment: &[(&str, String)]) -> Up {
        self.up_by(data, &[], environment)
    }

    /// And with more arguments.
    pub fn up_by(&self, data: &str, arguments: &[&str], environment: &[(&str, String)]) -> Up {
        let mut command = self.rookery(&["up", "--port", "0", "--data-dir", data]);
        command.args(arguments);
        command.envs(environment.iter().map(|(name, value)| (*name, value)));
        Up::start(command, self.path(data), self.directory.path().into())
    }
}

/// A running `rookery up`; killed when dropped.
pub struct Up {
    child: Child,
    data: PathBuf,
    temporary: PathBuf,
    /// As the banner names it.
    pub address: String,
    words: Receiver<String>,
}

impl Up {
    fn start(mut command: Command, data: PathBuf, temporary: PathBuf) -> Self {
        // A group of its own, as a shell gives it: Ctrl-C goes to all of it.
        let mut child = command.process_group(0).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (say, words) = channel();
        for stream in
            [Box::new(child.stdout.take().unwrap()) as Box<dyn Read + Send>, Box::new(child.stderr.take().unwrap())]
        {
            let say = say.clone();
            std::thread::spawn(move || {
                let lines = BufReader::new(stream).lines().map_while(Result::ok);
                lines.for_each(|line| drop(say.send(line)));
            });
        }
        drop(say);
        let mut up = Self { child, data, temporary, address: String::new(), words };
        let banner = up.wait_for_words("REST");
        up.address = banner.trim().trim_start_matches("REST").trim().trim_end_matches("/v1").to_owned();
        up
    }

    /// The first line from now on that contains `part`.
    pub fn wait_for_words(&mut self, part: &str) -> String {
        let mut heard = Vec::new();
        let start = Instant::now();
        while start.elapsed() < DEADLINE {
            match self.words.recv_timeout(DEADLINE) {
                Ok(line) if line.contains(part) => return line,
                Ok(line) => heard.push(line),
                Err(_) => break,
            }
        }
        panic!("never said {part:?}, only {heard:#?}");
    }

    pub fn pid(&self) -> i32 {
        self.child.id().try_into().unwrap()
    }

    /// Of the private server, from the first line of its own file.
    pub fn postmaster(&self) -> i32 {
        let file = std::fs::read_to_string(self.data.join("postgres/data/postmaster.pid")).unwrap();
        file.lines().next().unwrap().trim().parse().unwrap()
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        send(self.pid(), signal);
    }

    /// As a terminal does at Ctrl-C: to every process of the foreground group.
    pub fn ctrl_c(&self) {
        let group = rustix::process::Pid::from_raw(self.pid()).unwrap();
        rustix::process::kill_process_group(group, rustix::process::Signal::INT).unwrap();
    }

    pub fn wait(&mut self) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(start.elapsed() < DEADLINE, "rookery has not ended");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Until no process of the private server is left; they hold this lock between them.
    pub fn wait_for_server_to_be_gone(&self) {
        self.wait_for_server_to_be_gone_at(&self.data.join("postgres"));
    }

    pub fn wait_for_server_to_be_gone_at(&self, home: &Path) {
        let lock = std::fs::File::open(home.join("server.lock")).unwrap();
        eventually("the server to be gone", || lock.try_lock().is_ok());
    }

    /// Of the private server.
    pub fn database_url(&self) -> String {
        let machine = Machine { temporary: self.temporary.clone(), ..Machine::default() };
        url_of(&self.data.join("postgres"), &machine).unwrap()
    }

    /// What only this database has: its epoch, as long as nobody has made it anew. Asks the private server itself, and
    /// waits until it takes connections.
    pub fn epoch(&self) -> String {
        let config = StoreConfig { url: Secret::new(self.database_url()), schema: None, pool: 1 };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let mut epoch = None;
        eventually("the database to answer", || {
            epoch = runtime.block_on(async { Store::new(&config).unwrap().get_epoch().await.ok() });
            epoch.is_some()
        });
        epoch.unwrap()
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

pub fn send(pid: i32, signal: rustix::process::Signal) {
    rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), signal).unwrap();
}

pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < DEADLINE, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
