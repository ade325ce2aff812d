//! What somebody is told who looks after a cluster with `rookery`'s other commands.

use crate::stage::{Stage, eventually, send};
use crate::world::{Cluster, SECRET, World, state};
use ecosystem::cluster::processes::State;
use rustix::process::Signal;
use std::time::{Duration, Instant};

#[test]
fn a_gateway_that_stands_still_does_not_hold_up_the_status() {
    let world = World::new();
    let cluster = world.up();
    let stopped = cluster.pid("gateway-1");
    send(stopped, Signal::STOP);
    eventually("it to stand still", || state(stopped.unsigned_abs()).as_deref() == Some("T"));
    let begun = Instant::now();
    let (content, status) = cluster.ask(&["status"]);
    let took = begun.elapsed();
    send(stopped, Signal::CONT);
    let row = status.lines().find(|line| line.starts_with("gateway-1")).unwrap();
    assert!(!content && row.contains("does not answer"), "{status}");
    // Far from the ten seconds that a request may take.
    assert!(took < Duration::from_secs(6), "{took:?}");
}

#[test]
fn the_doctor_looks_at_the_services_that_are_named() {
    let world = World::new();
    let doctor = |change: &[(&str, &str)]| {
        let mut command = world.stage.rookery(&["doctor", "--quick", "--data-dir", "data"]);
        command.envs(world.settings()).envs(change.iter().copied());
        let output = command.output().unwrap();
        (output.status.success(), String::from_utf8(output.stdout).unwrap())
    };
    let row = |words: &str, name: &str| {
        let row = words.lines().find(|line| line.split_whitespace().nth(1) == Some(name));
        row.unwrap_or_else(|| panic!("{words}")).to_owned()
    };
    let (_, words) = doctor(&[]);
    assert!(row(&words, "redis").starts_with("ok"), "{words}");
    assert!(row(&words, "rabbitmq").starts_with("ok") && row(&words, "rabbitmq").contains("version "), "{words}");

    let host = world.amqp.rsplit('@').next().unwrap().split('/').next().unwrap();
    for (name, value, subject, why) in [
        ("REDIS_URL", "redis://:canary@127.0.0.1:1", "redis", "refused"),
        ("AMQP_URL", "amqp://rookery:canary@127.0.0.1:1", "rabbitmq", "refused"),
        ("AMQP_URL", &format!("amqp://nobody:canary@{host}"), "rabbitmq", "the login is refused"),
        ("AMQP_URL", &format!("{}/canary-host", world.amqp.trim_end_matches("/%2f")), "rabbitmq", "virtual host"),
    ] {
        let (content, words) = doctor(&[(name, value)]);
        let row = row(&words, subject);
        assert!(!content && row.starts_with("FAIL") && row.contains(name) && row.contains(why), "{words}");
        assert!(!words.contains(":canary"), "{words}");
    }
}

#[test]
fn a_reload_refuses_what_it_cannot_change_and_says_what_can() {
    let world = World::new();
    let cluster = world.up();
    let before = cluster.pids();
    let settings = ["HOST=127.0.0.2", "PARTITIONS=16", "PROBE_PORT=4100", "LOG_DIR=elsewhere"];
    let names = ["HOST", "PARTITIONS", "PROBE_PORT", "LOG_DIR"];
    // The port was given at the command line, and the environment goes over the file: neither is a change.
    let idle = ["PORT=1", "CLUSTER_NAME=other"];
    std::fs::write(world.stage.path(".env"), [&settings[..], &idle].concat().join("\n")).unwrap();
    let (done, words) = cluster.ask(&["reload"]);
    assert!(!done && words.contains(&format!("{} cannot be changed by a reload", names.join(", "))), "{words}");
    assert!(words.contains("`rookery down`, then `rookery up --cluster`") && words.contains("go on"), "{words}");
    assert_eq!(cluster.pids(), before, "nothing was started for it");
    std::fs::write(world.stage.path(".env"), "LOG_LEVEL=debug\n").unwrap();
    let (done, words) = cluster.ask(&["reload"]);
    assert!(done, "{words}");

    // The new ones have other names, and the old ones have left their logs.
    let (found, words) = cluster.ask(&["logs", "gateway-1"]);
    assert!(found && words.contains("gateway-1 has ended; at work now: gateway-3, gateway-4"), "{words}");
    for name in ["gateway-3", "gateway"] {
        let (_, words) = cluster.ask(&["logs", name]);
        assert!(!words.contains("has ended;"), "{words}");
    }
    let (found, words) = cluster.ask(&["logs", "nosuch"]);
    assert!(!found && words.contains("nobody called nosuch") && words.contains("there are: gateway-1, "), "{words}");
    assert!(words.contains("gateway-4, launcher, worker-1"), "{words}");
}

#[test]
fn private_services_that_were_away_do_not_read_like_a_start_and_are_not_left_by_a_reload() {
    let stage = Stage::new();
    let cluster = Cluster { stage: &stage, up: stage.up_by("data", &["--cluster"], &[]) };
    let redis = cluster.processes().services.iter().find(|service| service.name == "Redis").unwrap().pid.unwrap();
    let before = cluster.pids();
    send(redis.try_into().unwrap(), Signal::STOP);
    let state_of_all = |state| cluster.processes().processes.iter().all(|entry| entry.state == state);
    eventually("all to miss it", || state_of_all(State::NotReady));
    send(redis.try_into().unwrap(), Signal::CONT);
    eventually("all to be ready", || state_of_all(State::Ready));
    let (_, log) = cluster.ask(&["logs", "launcher"]);
    assert_eq!(log.matches("a process is ready again").count(), 4, "{log}");
    assert_eq!(cluster.pids(), before);

    let secret = format!("REDIS_URL=redis://:canary@127.0.0.1:1\nJWT_SECRET={SECRET}\n");
    std::fs::write(stage.path(".env"), secret).unwrap();
    let (done, words) = cluster.ask(&["reload"]);
    assert!(!done && words.contains("REDIS_URL, JWT_SECRET cannot be changed"), "{words}");
    assert!(!words.contains("canary") && !words.contains(SECRET), "{words}");
    std::fs::remove_file(stage.path(".env")).unwrap();
}
