//! Opening and holding sockets, against the fake server.

use super::fake::{Fake, Fault};
use super::*;
use crate::idle;
use crate::process::Watched;
use crate::setup::World;
use clap::Parser;

#[derive(Parser)]
#[command(args_override_self = true)]
struct Idle {
    #[command(flatten)]
    options: idle::Options,
}

fn idle(fake: &Fake, more: &[&str]) -> anyhow::Result<idle::Report> {
    let url = fake.url();
    let line = ["idle", "--url", &url, "--sockets", "40", "--users", "3", "--baseline", "0", "--hold", "1"];
    let mut options = Idle::parse_from(line.iter().chain(more)).options;
    options.pids = vec![Watched::itself("this test")];
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    idle::run(&runtime, &options, &mut World::open(&options.setup, options.socket.sources)?)
}

#[test]
fn sockets_are_held_and_pings_and_heartbeats_answered() {
    for wire in ["bare", "tungstenite"] {
        let fake = Fake::start(Fault::Nag);
        let report = idle(&fake, &["--wire", wire]).unwrap();
        assert_eq!((report.still_open, report.users, report.connect.sockets), (40, 3, 40));
        assert_eq!(fake.answers(), 80, "{wire}: a pong and a heartbeat from each");
        assert!(!report.verdict().broken);
        assert_eq!(report.costs.len(), 1);
    }
}

#[test]
fn a_refused_hello_is_an_error_that_says_why() {
    let error = idle(&Fake::start(Fault::NoHello), &[]).unwrap_err();
    assert!(format!("{error:#}").contains("unauthenticated"), "{error:#}");
}

#[test]
fn a_server_that_asks_to_wait_is_obeyed_and_accounts_are_kept() {
    let fake = Fake::start(Fault::Busy);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.json");
    let state = ["--state", path.to_str().unwrap()];
    idle(&fake, &state).unwrap();
    assert_eq!(fake.registered(), 4, "three, and one again after 429");
    idle(&fake, &state).unwrap();
    assert_eq!(fake.registered(), 4, "the second run takes them from the file");
}

#[test]
fn nobody_listening_is_one_readable_error() {
    let folder = tempfile::tempdir().unwrap();
    let tokens = folder.path().join("tokens");
    std::fs::write(&tokens, "a\n\n b \n").unwrap();
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = format!("http://{closed}");
    let line = ["idle", "--url", &url, "--tokens", tokens.to_str().unwrap(), "--baseline", "0"];
    let options = Idle::parse_from(line).options;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut world = World::open(&options.setup, 1).unwrap();
    let error = idle::run(&runtime, &options, &mut world).unwrap_err();
    assert!(format!("{error:#}").contains("connecting socket 0"), "{error:#}");
}

#[test]
fn an_end_that_comes_with_the_last_bytes_is_seen_after_them() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (mut server, _) = listener.accept().unwrap();
    std::io::Write::write_all(&mut server, &[0x81, 2, b'h', b'i']).unwrap();
    drop(server);
    client.set_nonblocking(true).unwrap();
    let mut swarm = Swarm::new(1).unwrap();
    swarm.put(0, client, wire::Kind::Bare).unwrap();
    let mut texts = Vec::new();
    let deadline = clock::monotonic() + Duration::from_secs(5);
    while swarm.is_open(0) {
        assert!(clock::monotonic() < deadline);
        swarm.poll(Duration::from_millis(100), &mut |place, text, _| texts.push((place, text.to_vec()))).unwrap();
    }
    assert_eq!(texts, [(0, b"hi".to_vec())]);
    assert_eq!((swarm.tally.closed, swarm.gaps()), (1, vec![0]));
}
