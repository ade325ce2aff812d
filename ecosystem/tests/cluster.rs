//! `rookery up --cluster`, and gateways and workers under another supervisor, tried with the real program on the real
//! services: what it takes to start, what it survives, how it is replaced and how it ends.
#![allow(clippy::unwrap_used)] // All of this file is a test; clippy knows only the functions marked as one.

#[path = "cluster/door.rs"]
mod door;
#[path = "cluster/operator.rs"]
mod operator;
#[path = "cluster/socket.rs"]
mod socket;
#[path = "launcher/stage.rs"]
#[allow(dead_code)] // The launcher's tests use the rest of it.
mod stage;
#[path = "cluster/world.rs"]
mod world;

use door::Door;
use ecosystem::http;
use rustix::process::Signal;
use serde_json::json;
use socket::Socket;
use stage::{Stage, eventually, send};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use world::{Cluster, World, ask, lives, living_in, state};

/// A socket that this gateway has, because the other one cannot take it.
fn open_at(cluster: &Cluster, gateway: &str, other: &str, token: &str) -> Socket {
    let stopped = cluster.pid(other);
    send(stopped, Signal::STOP);
    eventually("it to stand still", || state(stopped.unsigned_abs()).as_deref() == Some("T"));
    let socket = Socket::open(&cluster.up.address, token);
    send(stopped, Signal::CONT);
    let probe = cluster.entry(gateway).probe.unwrap();
    // Published once a second.
    eventually("the socket to be counted", || {
        let metrics = http::get(&probe, "/metrics").unwrap().body;
        let sockets = metrics.lines().filter(|line| line.starts_with("rookery_gateway_connections{"));
        sockets.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum::<f64>() == 1.0
    });
    socket
}

#[test]
fn one_command_starts_everything_and_two_people_talk_across_gateways_through_losses() {
    let stage = Stage::new();
    let cluster = Cluster { stage: &stage, up: stage.up_by("data", &["--cluster"], &[]) };
    let api = cluster.api();
    let (ann, bob) = (api.register("ann"), api.register("bob"));
    let group = api.group(&ann.1, &bob.0);
    let mut ann_at = open_at(&cluster, "gateway-1", "gateway-2", &ann.1);
    let mut bob_at = open_at(&cluster, "gateway-2", "gateway-1", &bob.1);
    let said = ann_at.ask("message.send", json!({ "conversation_id": group, "body": "hello" }));
    let heard = bob_at.expect("message.created");
    assert_eq!(heard["data"]["message"]["id"], said["message"]["id"]);

    // A worker and Ann's gateway are lost; both are back by themselves, and everything goes on.
    let (worker, gateway) = (cluster.pid("worker-2"), cluster.pid("gateway-1"));
    send(worker, Signal::KILL);
    send(gateway, Signal::KILL);
    cluster.wait_for_another("worker-2", worker);
    cluster.wait_for_another("gateway-1", gateway);
    let mut ann_again = Socket::open(&cluster.up.address, &ann.1);
    ann_again.ask("message.send", json!({ "conversation_id": group, "body": "again" }));
    assert_eq!(bob_at.expect("message.created")["data"]["message"]["body"], "again");

    let (content, status) = cluster.ask(&["status"]);
    let row = |name: &str| status.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{status}"));
    let cells = |name: &str| row(name).split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect::<Vec<_>>();
    assert!(content, "{status}");
    assert_eq!(cells("gateway-1")[3], "1", "restarts: {status}");
    let ended = "(ended before: signal: 9 (SIGKILL) at 20";
    assert!(["gateway-1", "worker-2"].iter().all(|name| row(name).contains(ended)), "{status}");
    assert!(row("worker-2").ends_with("Z)"), "a time, and no reason that is made up: {status}");
    assert!(row("Redis").contains("runs: ") && cells("Redis")[2] != "-", "{status}");
    assert_eq!(cells("gateway-2")[3..], ["0", "1", "ready"], "{status}");
    assert!(["PostgreSQL", "Redis", "RabbitMQ"].iter().all(|name| cells(name)[1].parse::<u32>().is_ok()), "{status}");
    let (_, log) = cluster.ask(&["logs", "-n", "1000"]);
    assert!(log.contains("launcher a process ended unasked"), "{log}");
    assert!(log.contains("a process has been started and is ready"), "{log}");
    assert!(log.contains(" gateway-2 joined ") && log.contains(" worker-1 ready"), "{log}");
    let (_, log) = cluster.ask(&["logs", "worker-1", "--json"]);
    assert!(log.lines().all(|line| line.starts_with('{') && line.contains(r#""process":"worker-1""#)), "{log}");

    let (stopped, words) = cluster.ask(&["down"]);
    assert!(stopped && words.contains("stopped"), "{words}");
    assert_eq!(living_in(&stage.path("")), Vec::<String>::new());
}

#[test]
fn a_reload_replaces_everybody_and_refuses_nobody() {
    let world = World::new();
    let cluster = world.up();
    let api = cluster.api();
    let (ann, bob) = (api.register("ann"), api.register("bob"));
    let group = api.group(&ann.1, &bob.0);
    let mut socket = Socket::open(&cluster.up.address, &bob.1);
    let before = cluster.pids();
    let over = AtomicBool::new(false);
    let said = std::thread::scope(|scope| {
        let talk = scope.spawn(|| {
            let mut said = 0;
            while !over.load(Ordering::Relaxed) {
                let body = json!({ "body": format!("number {said}") });
                api.rest("POST", &format!("/v1/conversations/{group}/messages"), Some(&ann.1), Some(&body));
                said += 1;
            }
            said
        });
        let reload = scope.spawn(|| ask(&world.stage, &["reload"]));
        // The old gateway sends its sockets away in order.
        socket.expect("reconnect");
        drop(socket);
        let (done, words) = reload.join().unwrap();
        over.store(true, Ordering::Relaxed);
        assert!(done && words.contains("2 gateway(s) and 2 worker(s) replaced"), "{words}");
        talk.join().unwrap()
    });
    let after = cluster.pids();
    assert_eq!(after.len(), 4);
    assert!(before.iter().all(|pid| !after.contains(pid) && !lives(*pid)), "{before:?} {after:?}");
    let there = api.rest("GET", &format!("/v1/conversations/{group}"), Some(&bob.1), None);
    assert!(said > 10 && there["seq"] == said, "{said} were answered, {there}");
}

#[test]
fn a_reload_to_something_that_cannot_start_changes_nothing() {
    let world = World::new();
    let cluster = world.up();
    let before = cluster.pids();
    std::fs::write(world.stage.path(".env"), "LOG_LEVEL=loud\n").unwrap();
    let (done, words) = cluster.ask(&["reload"]);
    assert!(!done && words.contains("LOG_LEVEL") && words.contains("go on"), "{words}");
    std::fs::remove_file(world.stage.path(".env")).unwrap();
    eventually("the new ones to be gone", || cluster.pids().len() == 4);
    assert_eq!(cluster.pids(), before);
    // And the next one is not disturbed by it.
    let (done, words) = cluster.ask(&["reload"]);
    assert!(done, "{words}");
}

#[test]
fn a_killed_launcher_leaves_no_process_and_nothing_that_blocks_the_next() {
    let world = World::new();
    let mut cluster = world.up();
    let (pids, address) = (cluster.pids(), cluster.up.address.clone());
    cluster.up.signal(Signal::KILL);
    cluster.up.wait();
    eventually("all to be gone", || pids.iter().all(|pid| !lives(*pid)));
    // The port is free again, and so is the directory.
    let port = address.strip_prefix("http://").unwrap();
    eventually("the port to be free", || TcpListener::bind(port).is_ok());
    let one_each = ["--cluster", "--gateways", "1", "--workers", "1"];
    let up = world.stage.up_by("data", &one_each, &world.settings());
    assert_eq!(Cluster { stage: &world.stage, up }.pids().len(), 2);
}

#[test]
fn ctrl_c_sends_everybody_away_in_order_and_a_second_one_ends_at_once() {
    let world = World::new();
    let mut cluster = world.up();
    let pids = cluster.pids();
    let (_, token) = cluster.api().register("ann");
    // It does not leave when it is asked to, so the first signal alone would take `DRAIN_SECONDS`.
    let mut socket = Socket::open(&cluster.up.address, &token);
    cluster.up.ctrl_c();
    socket.expect("reconnect");
    let port = cluster.up.address.strip_prefix("http://").unwrap();
    let refused = std::net::TcpStream::connect(port).unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused, "nobody waits for who leaves");
    assert!(!cluster.ask(&["status"]).0, "it is not ready any more");
    cluster.up.ctrl_c();
    assert_eq!(cluster.up.wait().code(), Some(130));
    eventually("all to be gone", || pids.iter().all(|pid| !lives(*pid)));
}

/// A gateway or worker as another supervisor starts it; killed when dropped.
struct Process(Child);

impl Process {
    fn start(world: &World, role: &str, settings: &[(&str, String)], more: &[(&str, &str)]) -> Self {
        let mut command: Command = world.stage.rookery(&[role]);
        command.envs(settings.iter().map(|(name, value)| (*name, value))).envs(more.iter().copied());
        Self(command.env("LOG_DIR", world.stage.path(role)).stderr(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Ports of the tests, each held until it is used.
fn free_ports<const N: usize>() -> [String; N] {
    let held = [(); N].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    held.map(|listener| listener.local_addr().unwrap().port().to_string())
}

#[test]
fn started_before_its_services_everything_waits_and_becomes_ready_by_itself() {
    let world = World::new();
    let mut settings = world.settings();
    let mut doors = Vec::new();
    for name in ["DATABASE_URL", "REDIS_URL", "AMQP_URL"] {
        let url = &mut settings.iter_mut().find(|(known, _)| *known == name).unwrap().1;
        let door = Door::closed(url);
        url.clone_from(&door.url);
        doors.push(door);
    }
    let [port, gateway_probe, worker_probe] = free_ports();
    let mut gateway = Process::start(&world, "gateway", &settings, &[("PORT", &port), ("PROBE_PORT", &gateway_probe)]);
    let mut worker = Process::start(&world, "worker", &settings, &[("PROBE_PORT", &worker_probe)]);
    let probes = [gateway_probe, worker_probe].map(|port| format!("http://127.0.0.1:{port}"));
    let says = |probe: &String| http::get(probe, "/health/ready").map(|answer| answer.body).unwrap_or_default();
    for away in ["PostgreSQL", "Redis", "RabbitMQ"] {
        eventually(away, || probes.iter().all(|probe| says(probe).contains(&format!("{away} is away"))));
    }
    // Clients hear the same, in place of nothing.
    let its_own = format!("http://127.0.0.1:{port}");
    assert_eq!(http::get(&its_own, "/health").unwrap().status, 200);
    for path in ["/health/ready", "/v1/ws", "/v1/users"] {
        assert_eq!(http::get(&its_own, path).unwrap().status, 503, "{path}");
    }
    for (door, opened) in doors.into_iter().zip(["PostgreSQL", "Redis", "RabbitMQ"]) {
        assert!(probes.iter().all(|probe| says(probe).contains("not_ready")));
        door.open();
        eventually(opened, || probes.iter().all(|probe| !says(probe).contains(opened)));
    }
    eventually("both to be ready", || probes.iter().all(|probe| says(probe).contains(r#""ready""#)));
    assert!(http::get(&its_own, "/health/ready").unwrap().is_ok());
    // And they drain like any other process.
    for process in [&mut gateway, &mut worker] {
        send(process.0.id().try_into().unwrap(), Signal::TERM);
        assert!(process.0.wait().unwrap().success());
    }
}

#[test]
fn who_would_work_on_something_else_than_the_others_waits_and_says_so() {
    let world = World::new();
    let settings = world.settings();
    let [first, second] = free_ports();
    let mut worker = Process::start(&world, "worker", &settings, &[("PROBE_PORT", &first)]);
    let says = |port: &str| {
        let answer = http::get(&format!("http://127.0.0.1:{port}"), "/health/ready");
        answer.map(|answer| answer.body).unwrap_or_default()
    };
    eventually("the worker to be ready", || says(&first).contains(r#""ready""#));
    let mut other = Process::start(&world, "worker", &settings, &[("PROBE_PORT", &second), ("PARTITIONS", "4")]);
    eventually("the other to say what differs", || says(&second).contains("have another PARTITIONS"));
    assert!(says(&second).contains("not_ready") && says(&first).contains(r#""ready""#));
    for process in [&mut worker, &mut other] {
        send(process.0.id().try_into().unwrap(), Signal::TERM);
        assert!(process.0.wait().unwrap().success());
    }
}

#[test]
fn what_a_gateway_lacks_is_named_at_once() {
    let stage = Stage::new();
    let refused = stage.run(&["gateway"]);
    let words = String::from_utf8(refused.stderr).unwrap();
    assert_eq!((refused.status.code(), words.lines().count()), (Some(64), 4), "{words}");
    let names = ["DATABASE_URL", "REDIS_URL", "AMQP_URL", "JWT_SECRET"];
    assert!(names.iter().all(|name| words.contains(&format!("{name}: is required"))), "{words}");
    let mut command = stage.rookery(&["worker"]);
    let refused = command.env("REDIS_URL", "localhost").env("PROBE_PORT", "many").output().unwrap();
    let words = String::from_utf8(refused.stderr).unwrap();
    let names = ["DATABASE_URL", "REDIS_URL", "AMQP_URL", "PROBE_PORT"];
    assert!(words.lines().count() == 4 && names.iter().all(|name| words.contains(name)), "{words}");
}

#[test]
fn one_process_says_that_it_cannot_be_reloaded_and_what_it_does_not_use() {
    let world = World::new();
    let mut cluster = Cluster { stage: &world.stage, up: world.stage.up_with("data", &world.settings()) };
    let (done, words) = cluster.ask(&["reload"]);
    assert!(!done && words.lines().count() == 1 && words.contains("one process"), "{words}");
    cluster.up.signal(Signal::TERM);
    assert!(cluster.up.wait().success(), "it was still there");
    // Said before anything is tried, and the only use of them.
    let mut command = world.stage.rookery(&["up", "--port", "0", "--data-dir", "other"]);
    command.env("AMQP_URL", &world.amqp).env("DATABASE_URL", "postgres://127.0.0.1:1/nowhere");
    let words = String::from_utf8(command.output().unwrap().stderr).unwrap();
    assert!(words.contains("REDIS_URL and AMQP_URL are for `rookery up --cluster`"), "{words}");
}
