//! The launcher, tried with the real program: what it starts, what it leaves behind when it is killed, and what it says.
#![allow(clippy::unwrap_used)] // All of this file is a test; clippy knows only the functions marked as one.

#[path = "launcher/engines.rs"]
mod engines;
#[path = "launcher/stage.rs"]
mod stage;

use rustix::process::Signal;
use stage::{Stage, Up, send};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Another life in the same directory finds the same database.
fn assert_same_database_again(stage: &Stage, epoch: &str) -> Up {
    let up = stage.up();
    assert_eq!(up.epoch(), epoch);
    up
}

fn we_are_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[test]
fn a_fresh_start_makes_everything_and_a_restart_keeps_it() {
    let stage = Stage::new();
    let mut up = stage.up();
    let epoch = up.epoch();
    let secrets = std::fs::read(stage.path("data/secrets")).unwrap();
    up.signal(Signal::TERM);
    assert!(up.wait().success());
    up.wait_for_server_to_be_gone();
    assert_same_database_again(&stage, &epoch);
    assert_eq!(std::fs::read(stage.path("data/secrets")).unwrap(), secrets);
}

#[test]
fn a_second_up_is_refused_in_one_line_that_names_the_first() {
    let stage = Stage::new();
    let up = stage.up();
    let second = stage.run(&["up", "--port", "0", "--data-dir", "data"]);
    assert!(!second.status.success());
    let words = text(&second.stderr);
    assert_eq!(words.lines().count(), 1, "{words}");
    assert!(words.contains(&format!("pid {}", up.pid())) && words.contains(&up.address), "{words}");
    // It has not disturbed the first.
    up.epoch();
    // Another data directory is another world.
    stage.up_in("other").epoch();
}

#[test]
fn a_killed_launcher_leaves_no_server_and_nothing_that_blocks_the_next() {
    let stage = Stage::new();
    let mut up = stage.up();
    let epoch = up.epoch();
    up.signal(Signal::KILL);
    up.wait();
    // At once: the old server is still on its way out.
    let next = assert_same_database_again(&stage, &epoch);
    assert_ne!(next.pid(), up.pid());
    drop(next);
    up.wait_for_server_to_be_gone();
}

#[test]
fn launcher_and_server_killed_together_start_again() {
    let stage = Stage::new();
    let mut up = stage.up();
    let epoch = up.epoch();
    let postmaster = up.postmaster();
    up.signal(Signal::KILL);
    send(postmaster, Signal::KILL);
    up.wait();
    assert!(stage.path("data/postgres/data/postmaster.pid").exists(), "the case is that it was left");
    assert_same_database_again(&stage, &epoch);
}

#[test]
fn a_killed_server_comes_back_under_a_living_launcher() {
    let stage = Stage::new();
    let mut up = stage.up();
    let (epoch, killed) = (up.epoch(), up.postmaster());
    send(killed, Signal::KILL);
    assert_eq!(up.epoch(), epoch);
    stage::eventually("another server", || up.postmaster() != killed);
    let ended = up.wait_for_words("PostgreSQL ended unasked");
    assert!(ended.contains("PostgreSQL ended (signal: 9 (SIGKILL))"), "no reason is made up: {ended}");
    let back = up.wait_for_words("PostgreSQL is back");
    assert!(back.contains(&format!("pid={}", up.postmaster())), "{back}");
}

#[test]
fn ctrl_c_ends_everything_it_started() {
    let stage = Stage::new();
    let mut up = stage.up();
    up.ctrl_c();
    up.wait_for_words("stopping");
    assert!(up.wait().success());
    up.wait_for_server_to_be_gone();
    assert!(!stage.path("data/postgres/data/postmaster.pid").exists(), "the server was stopped in order");
    let status = stage.run(&["status", "--data-dir", "data"]);
    assert_eq!(status.status.code(), Some(1));
}

#[test]
fn down_stops_it_and_status_tells_before_and_after() {
    let stage = Stage::new();
    let mut up = stage.up();
    let status = text(&stage.run(&["status", "--data-dir", "data"]).stdout);
    assert!(status.contains(&up.address) && status.contains(&up.pid().to_string()), "{status}");
    // While it is up and after it: the same database, and which one it is.
    let migrated = || text(&stage.run(&["migrate", "--data-dir", "data"]).stdout);
    let words = format!("the private database in {}: nothing to do", stage.path("data/postgres").display());
    assert!(migrated().starts_with(&words), "{}", migrated());
    assert!(stage.run(&["down", "--data-dir", "data"]).status.success());
    assert!(up.wait().success());
    assert!(migrated().starts_with(&words), "{}", migrated());
    let again = stage.run(&["down", "--data-dir", "data"]);
    assert!(again.status.success() && text(&again.stdout).contains("nothing is up"));
}

#[test]
fn the_default_ports_of_the_engines_may_be_taken() {
    // Taken by us, or already by others: both are the case.
    let _taken: Vec<_> = [5432, 6379, 5672].map(|port| TcpListener::bind(("127.0.0.1", port))).into();
    let stage = Stage::new();
    stage.up().epoch();
}

#[test]
fn a_taken_port_of_its_own_is_named_in_one_line() {
    let stage = Stage::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let refused = stage.run(&["up", "--port", &port, "--data-dir", "data"]);
    assert_eq!(refused.status.code(), Some(1));
    let words = text(&refused.stderr);
    assert!(words.lines().count() == 1 && words.contains(&port) && words.contains("--port"), "{words}");
}

#[test]
fn an_ordinary_user_runs_it_as_himself() {
    // Root plays one; everybody else is one.
    let (uid, gid) = (65_534, 65_534);
    let stage = if we_are_root() { Stage::for_user(uid, gid) } else { Stage::new() };
    let mut up = stage.up();
    let epoch = up.epoch();
    let owner = |name: &str| std::os::unix::fs::MetadataExt::uid(&stage.path(name).metadata().unwrap());
    assert_eq!(owner("data/postgres/data"), owner("data/secrets"));
    up.ctrl_c();
    assert!(up.wait().success());
    assert_same_database_again(&stage, &epoch);
}

#[test]
fn a_path_too_long_for_a_socket_is_no_obstacle() {
    let stage = Stage::new();
    let data = ["d".repeat(60), "e".repeat(60)].join("/");
    stage.up_in(&data).epoch();
}

#[test]
fn root_in_a_closed_directory_keeps_the_database_elsewhere_and_finds_it_again() {
    if !we_are_root() {
        // Nobody else starts a server as another user, so there is nothing that could be out of reach.
        return;
    }
    let stage = Stage::new();
    std::fs::create_dir(stage.path("closed")).unwrap();
    std::fs::set_permissions(stage.path("closed"), PermissionsExt::from_mode(0o700)).unwrap();
    let mut up = stage.up_in("closed/data");
    let epoch = up.epoch();
    up.signal(Signal::TERM);
    assert!(up.wait().success());
    let home = stage.path("closed/data/postgres").canonicalize().unwrap();
    assert!(!home.starts_with(stage.path("closed")), "{}", home.display());
    // Moved with its data directory, it is still found.
    std::fs::rename(stage.path("closed"), stage.path("moved")).unwrap();
    let again = stage.up_in("moved/data");
    assert_eq!(again.epoch(), epoch);
    drop(again);
    up.wait_for_server_to_be_gone_at(&home);
    std::fs::remove_dir_all(home).unwrap();
}

#[test]
fn bad_settings_are_all_named_and_nothing_is_made() {
    let stage = Stage::new();
    let mut command = stage.rookery(&["up", "--data-dir", "data"]);
    let refused = command.env("PORT", "99999").env("JWT_SECRET", "short").env("LOG_FORMAT", "xml").output().unwrap();
    assert_eq!(refused.status.code(), Some(64));
    let words = text(&refused.stderr);
    assert_eq!(words.lines().count(), 3, "{words}");
    assert!(["PORT", "JWT_SECRET", "LOG_FORMAT"].iter().all(|name| words.contains(name)), "{words}");
    assert!(!stage.path("data").exists());
}

#[test]
fn a_machine_without_postgresql_is_told_what_to_install() {
    let stage = Stage::new();
    let mut command = stage.rookery(&["up", "--port", "0", "--data-dir", "data"]);
    let refused = command.env("PG_BIN_DIR", stage.path("")).output().unwrap();
    assert_eq!(refused.status.code(), Some(1));
    let words = text(&refused.stderr);
    assert!(words.lines().count() == 1 && words.contains("PG_BIN_DIR"), "{words}");
}

#[test]
fn the_library_kills_restarts_and_removes() {
    use ecosystem::services::Machine;
    use ecosystem::services::postgres::{Options, PrivatePostgres};
    let stage = Stage::new();
    let home = stage.path("server");
    let machine = Machine { temporary: std::env::temp_dir(), ..Machine::default() };
    let server = PrivatePostgres::start(&home, &machine, &Options::for_tests()).unwrap();
    let (url, first) = (server.url(), server.pid().unwrap());
    server.kill();
    assert_eq!(server.pid(), None, "without supervision it stays dead");
    server.restart().unwrap();
    assert_eq!(server.url(), url);
    assert_ne!(server.pid().unwrap(), first);
    server.stop();
    assert_eq!(server.pid(), None);
    server.remove().unwrap();
    assert!(!home.exists());
}
