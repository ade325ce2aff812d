//! `rookery test` with a stand-in for cargo: what it starts for the tests, what it tells them, and what is left.

use crate::stage::{Stage, eventually};
use crate::{text, we_are_root};
use rustix::process::{Pid, Signal, kill_process_group};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

const NAMES: [&str; 3] = ["ROOKERY_TEST_DATABASE_URL", "ROOKERY_TEST_REDIS_URL", "ROOKERY_TEST_AMQP_URL"];

/// `rookery test`, where cargo writes down what it was told and then does `then`.
fn rookery_test(stage: &Stage, then: &str) -> Command {
    let cargo = stage.path("cargo");
    let words = NAMES.map(|name| format!("\"${name}\"")).join(" ");
    let script = format!("#!/bin/sh\nprintf '%s\\n' {words} >urls.new && mv urls.new urls && {then}\n");
    std::fs::write(&cargo, script).unwrap();
    std::fs::set_permissions(&cargo, PermissionsExt::from_mode(0o755)).unwrap();
    let mut command = stage.rookery(&["test"]);
    command.env("CARGO", cargo).env("ROOKERY_CHECKOUT", stage.path(""));
    command
}

fn urls(stage: &Stage) -> Vec<String> {
    std::fs::read_to_string(stage.path("urls")).unwrap().lines().map(str::to_owned).collect()
}

/// Directories of runs.
fn homes(stage: &Stage) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(stage.path("")).unwrap().flatten().map(|entry| entry.path());
    entries.filter(|path| path.file_name().unwrap().to_string_lossy().starts_with("rookery-test-")).collect()
}

#[test]
fn a_killed_test_run_leaves_no_server_and_the_next_run_removes_the_rest() {
    let stage = Stage::new();
    let mut run = rookery_test(&stage, "exec sleep 3600").process_group(0).spawn().unwrap();
    eventually("all three to be up", || stage.path("urls").exists());
    let urls = urls(&stage);
    assert!(urls[0].starts_with("postgres://") && urls[2].starts_with("amqp://"), "{urls:?}");
    let redis = urls[1].strip_prefix("redis+unix://").unwrap();
    UnixStream::connect(redis).unwrap();
    run.kill().unwrap();
    run.wait().unwrap();
    let [home] = homes(&stage).try_into().unwrap();
    for engine in ["postgres", "redis", "rabbitmq"] {
        // All processes of a server hold this lock between them.
        let lock = std::fs::File::open(home.join(engine).join("server.lock")).unwrap();
        eventually("the servers to be gone", || lock.try_lock().is_ok());
    }
    // The stand-in, which has lost its parent.
    kill_process_group(Pid::from_child(&run), Signal::KILL).unwrap();

    let given = NAMES.map(|name| (name, format!("{name} of somebody else")));
    let next = rookery_test(&stage, "exit 7").envs(given.clone()).output().unwrap();
    assert_eq!(next.status.code(), Some(7), "{}", text(&next.stderr));
    assert_eq!(self::urls(&stage), given.map(|(_, url)| url));
    assert!(homes(&stage).is_empty(), "nothing was started, and what the killed run left is gone");
}

/// Whether the only run's RabbitMQ takes SIGTERM away from the kernel: for a tenth of a second from then on nobody in it
/// listens, and the signal is lost.
fn rabbitmq_is_deaf(stage: &Stage) -> bool {
    let Some(data) = homes(stage).first().map(|home| home.join("rabbitmq/data")) else { return false };
    let processes = std::fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
    let mut of_the_run = processes.filter(|process| process.join("cwd").read_link().is_ok_and(|cwd| cwd == data));
    of_the_run.any(|process| catches_sigterm(&process))
}

/// Of a process's directory in `/proc`; the start script does not, Erlang does.
fn catches_sigterm(process: &Path) -> bool {
    let status = std::fs::read_to_string(process.join("status")).unwrap_or_default();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    caught.is_some_and(|mask| u64::from_str_radix(mask.trim(), 16).unwrap() & 1 << (Signal::TERM.as_raw() - 1) != 0)
}

#[test]
fn a_test_run_killed_while_rabbitmq_begins_leaves_none() {
    let stage = Stage::new();
    let mut run = rookery_test(&stage, "exit 1");
    // Alone: an initdb would go on for a while.
    run.env(NAMES[0], "not asked").env(NAMES[1], "not asked");
    let mut run = run.spawn().unwrap();
    eventually("Erlang's first moment", || rabbitmq_is_deaf(&stage));
    run.kill().unwrap();
    run.wait().unwrap();
    let [home] = homes(&stage).try_into().unwrap();
    let lock = std::fs::File::open(home.join("rabbitmq/server.lock")).unwrap();
    eventually("RabbitMQ to be gone", || lock.try_lock().is_ok());
}

#[test]
fn an_ordinary_user_runs_the_tests_as_himself() {
    // Root plays one; everybody else is one.
    let stage = if we_are_root() { Stage::for_user(65_534, 65_534) } else { Stage::new() };
    let ended = rookery_test(&stage, "ls -ln rookery-test-*/ >owners").output().unwrap();
    assert!(ended.status.success(), "{}", text(&ended.stderr));
    let owners = std::fs::read_to_string(stage.path("owners")).unwrap();
    let uid = if we_are_root() { 65_534 } else { rustix::process::getuid().as_raw() }.to_string();
    for engine in ["postgres", "redis", "rabbitmq"] {
        let row = owners.lines().find(|line| line.ends_with(engine)).unwrap();
        assert_eq!(row.split_whitespace().nth(2), Some(uid.as_str()), "{row}");
    }
    assert!(homes(&stage).is_empty(), "{:?}", homes(&stage));
}
