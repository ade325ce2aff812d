//! One gateway or worker of the cluster as the suite's supervisor holds it: its settings, its own way to each service,
//! its log, its life.

use crate::proxy::Proxy;
use crate::stage::{eventually, send};
use ecosystem::http;
use rustix::process::Signal;
use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};

/// How it was and will be started.
#[derive(Clone)]
pub struct Recipe {
    pub program: PathBuf,
    /// `gateway` or `worker`.
    pub role: &'static str,
    pub name: String,
    /// Where it works and logs.
    pub directory: PathBuf,
    pub settings: Vec<(&'static str, String)>,
}

/// The services as this process reaches them.
pub struct Ways {
    pub postgres: Proxy,
    pub redis: Proxy,
    pub rabbit: Proxy,
}

pub struct Process {
    recipe: Recipe,
    pub ways: Ways,
    child: Child,
}

impl Process {
    /// Must be called from the thread of the test: the process ends with the thread that has started it.
    pub fn start(recipe: Recipe, ways: Ways, failpoint: Option<&str>) -> Self {
        let child = recipe.start(failpoint);
        Self { recipe, ways, child }
    }

    pub fn pid(&self) -> i32 {
        self.child.id().try_into().unwrap()
    }

    pub fn signal(&self, signal: Signal) {
        send(self.pid(), signal);
    }

    /// SIGKILL; returns when it is dead.
    pub fn kill(&mut self) {
        self.signal(Signal::KILL);
        self.wait();
    }

    /// Until it has ended, however.
    pub fn wait(&mut self) -> ExitStatus {
        ended(&mut self.child)
    }

    /// It has to be alive whenever nobody has killed it.
    pub fn assert_alive(&mut self) {
        let ended = self.child.try_wait().unwrap();
        assert!(ended.is_none(), "{} ended by itself: {}", self.recipe.name, ended.unwrap());
    }

    /// After its end.
    pub fn start_again(&mut self) {
        self.child = self.recipe.start(None);
    }

    /// Another one, told to do something wrong or not, beside the one that still runs and is returned.
    pub fn start_beside(&mut self, failpoint: Option<&str>) -> Child {
        std::mem::replace(&mut self.child, self.recipe.start(failpoint))
    }

    /// The same with another setting, from the next start on.
    pub fn set(&mut self, name: &'static str, value: String) {
        self.recipe.set(name, value);
    }

    /// Of a gateway.
    pub fn address(&self) -> String {
        let port = self.recipe.settings.iter().find(|(name, _)| *name == "PORT").map(|(_, port)| port);
        format!("http://127.0.0.1:{}", port.expect("a gateway has a port"))
    }

    /// Of a gateway.
    pub fn is_ready(&self) -> bool {
        http::get(&self.address(), "/health/ready").is_ok_and(|answer| answer.is_ok())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Recipe {
    fn start(&self, failpoint: Option<&str>) -> Child {
        let log = File::options().create(true).append(true).open(self.log()).unwrap();
        let mut command = Command::new(&self.program);
        command.env_clear().env("PATH", "/usr/bin:/bin").current_dir(&self.directory);
        command.arg(self.role).args(["--launcher", &std::process::id().to_string()]);
        command.env("PROCESS_NAME", &self.name).env("RUST_BACKTRACE", "1");
        command.envs(self.settings.iter().map(|(name, value)| (name, value)));
        command.envs(failpoint.map(|words| ("ROOKERY_FAILPOINT", words)));
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        command.spawn().unwrap()
    }

    pub fn set(&mut self, name: &'static str, value: String) {
        self.settings.retain(|(other, _)| *other != name);
        self.settings.push((name, value));
    }

    pub fn log(&self) -> PathBuf {
        self.directory.join(format!("{}.log", self.name))
    }
}

/// Asks for the end in order, and waits for it.
pub fn dismiss(mut child: Child) {
    send(child.id().try_into().unwrap(), Signal::TERM);
    let status = ended(&mut child);
    assert!(status.success(), "a process that was asked to leave: {status}");
}

fn ended(child: &mut Child) -> ExitStatus {
    let mut status = None;
    eventually("a process to end", || {
        status = child.try_wait().unwrap();
        status.is_some()
    });
    status.unwrap()
}
