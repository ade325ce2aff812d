//! Private Redis and RabbitMQ, started from the machine's own programs: what they survive, what they leave behind, and
//! that their URLs open them to the clients that we use.
#![allow(clippy::unwrap_used)] // All of this file is a test; clippy knows only the functions marked as one.

#[path = "services/client.rs"]
mod client;

use client::{Broker, Memory};
use ecosystem::services::Machine;
use ecosystem::services::rabbitmq::{self, PrivateRabbit};
use ecosystem::services::redis::{self, PrivateRedis};
use rustix::process::{Pid, Signal, kill_process};
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

/// For anything that has to happen; a machine with other work on it is slow.
const DEADLINE: Duration = Duration::from_secs(60);

#[track_caller]
fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < DEADLINE, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Whether SIGTERM is taken away from the kernel. Erlang begins with that, and for a tenth of a second from then on nobody in
/// it listens: the signal is lost.
fn catches_sigterm(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    caught.is_some_and(|mask| u64::from_str_radix(mask.trim(), 16).unwrap() & 1 << (Signal::TERM.as_raw() - 1) != 0)
}

fn kill(pid: u32) {
    kill_process(Pid::from_raw(pid.try_into().unwrap()).unwrap(), Signal::KILL).unwrap();
}

/// A directory that every user may walk through, removed at the end, and the machine as the program sees it.
struct Ground {
    directory: tempfile::TempDir,
    machine: Machine,
}

impl Ground {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let machine = Machine { temporary: directory.path().into(), ..Machine::default() };
        Self { directory, machine }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.directory.path().join(name)
    }

    fn redis(&self, name: &str) -> anyhow::Result<PrivateRedis> {
        PrivateRedis::start(&self.path(name), &self.machine, &redis::Options::for_tests())
    }

    fn rabbit(&self, name: &str) -> anyhow::Result<PrivateRabbit> {
        PrivateRabbit::start(&self.path(name), &self.machine, &rabbitmq::Options::for_tests())
    }

    /// Nothing is left, not even a socket's directory elsewhere.
    fn assert_empty(&self) {
        let left: Vec<_> = std::fs::read_dir(self.directory.path()).unwrap().flatten().map(|e| e.path()).collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

#[test]
fn redis_is_killed_restarted_and_removed() {
    let ground = Ground::new();
    // A name that a URL has to encode.
    let server = ground.redis("ä b").unwrap();
    let (url, first) = (server.url(), server.pid().unwrap());
    Memory::at(&url).set("key");
    assert!(Memory::at(&url).has("key"));
    assert_eq!(Memory::at(&url).policy(), "noeviction");
    let second = ground.redis("ä b").err().unwrap().to_string();
    assert!(second.contains("in use by another rookery"), "{second}");
    server.kill();
    assert_eq!(server.pid(), None, "without supervision it stays dead");
    server.restart().unwrap();
    assert_eq!(server.url(), url);
    assert_ne!(server.pid().unwrap(), first);
    assert!(!Memory::at(&url).has("key"), "it keeps nothing");
    server.stop();
    assert_eq!(server.pid(), None);
    server.remove().unwrap();
    ground.assert_empty();
}

#[test]
fn a_long_path_and_a_second_redis_are_no_obstacle() {
    let ground = Ground::new();
    let (one, other) = (ground.redis(&"d".repeat(120)).unwrap(), ground.redis("other").unwrap());
    Memory::at(&one.url()).set("key");
    assert!(!Memory::at(&other.url()).has("key"));
    one.remove().unwrap();
    other.remove().unwrap();
    ground.assert_empty();
}

#[test]
fn rabbitmq_is_killed_restarted_and_removed() {
    let ground = Ground::new();
    let server = ground.rabbit("ä b").unwrap();
    let (url, first) = (server.url(), server.pid().unwrap());
    assert!(server.created());
    let broker = Broker::at(&url);
    broker.put("kept", "what was confirmed");
    assert!(!Broker::opens(&url.replacen("//rookery:", "//rookery:not", 1)), "the password is asked for");
    let guest = url.split('@').nth(1).map(|rest| format!("amqp://guest:guest@{rest}")).unwrap();
    assert!(!Broker::opens(&guest), "nobody else is known");
    drop(broker);
    // A second one beside it, and beside that of the machine if there is one.
    let other = ground.rabbit("other").unwrap();
    assert_ne!(other.url(), url);
    other.remove().unwrap();

    server.kill();
    assert_eq!(server.pid(), None, "without supervision it stays dead");
    server.restart().unwrap();
    assert_eq!(server.url(), url);
    assert_ne!(server.pid().unwrap(), first);
    assert_eq!(Broker::at(&url).get("kept").as_deref(), Some("what was confirmed"));
    // Another owner of the same home finds the same server.
    drop(server);
    let again = ground.rabbit("ä b").unwrap();
    assert!(!again.created());
    assert_eq!(again.url(), url);
    again.remove().unwrap();
    ground.assert_empty();
}

#[test]
fn a_supervised_redis_comes_back_by_itself() {
    let ground = Ground::new();
    let server = PrivateRedis::start(&ground.path("home"), &ground.machine, &redis::Options::default()).unwrap();
    let first = server.pid().unwrap();
    kill(first);
    eventually("another process", || server.pid().is_some_and(|pid| pid != first));
    eventually("an answer from it", || Memory::answers(&server.url()));
    server.remove().unwrap();
}

#[test]
fn a_rabbitmq_that_has_just_begun_is_ended_and_one_that_never_was_whole_starts_over() {
    let ground = Ground::new();
    let server = PrivateRabbit::start(&ground.path("home"), &ground.machine, &rabbitmq::Options::default()).unwrap();
    let (url, first) = (server.url(), server.pid().unwrap());
    kill(first);
    eventually("the next one to begin", || server.pid().is_some_and(|pid| pid != first && catches_sigterm(pid)));
    let since = Instant::now();
    drop(server);
    assert!(since.elapsed() < Duration::from_secs(25), "ended by the gentle signal, not by the last one");

    // As if the launcher had been killed during the first start.
    std::fs::remove_file(ground.path("home/finished")).unwrap();
    std::fs::write(ground.path("home/data/mnesia/rookery@localhost/schema.DAT"), "half of it").unwrap();
    let again = ground.rabbit("home").unwrap();
    assert!(again.created());
    assert_eq!(again.url(), url);
    Broker::at(&url);
    again.remove().unwrap();
    ground.assert_empty();
}
