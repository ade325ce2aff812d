//! A login's life: it opens sockets in three ways, and whatever ends it closes them, on every gateway.

use crate::world::{Answer, Edge, Handshake, Person, Refused, Socket, World};
use serde_json::{Value, json};
use shared::store::testing::age_refresh_tokens;
use std::time::{Duration, Instant};

const PASSWORD: &str = "correct horse battery";

/// A person with a password, as a login made him.
struct Account {
    name: &'static str,
    person: Person,
    refresh: String,
}

fn account(name: &'static str, grant: &Value, id: &str) -> Account {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let token = text(&grant["access_token"]);
    let session = shared::domain::SessionId::new();
    Account { name, person: Person { id: id.to_owned(), token, session }, refresh: text(&grant["refresh_token"]) }
}

async fn register(gateway: &Edge, name: &'static str) -> Account {
    let body = json!({ "username": name, "email": format!("{name}@example.org"), "password": PASSWORD });
    let grant = gateway.call("POST", "/v1/auth/register", None, Some(body)).await.expect(201);
    account(name, &grant, grant["user"]["id"].as_str().unwrap())
}

async fn login(gateway: &Edge, of: &Account, password: &str) -> Account {
    let body = json!({ "login": of.name, "password": password });
    let grant = gateway.call("POST", "/v1/auth/login", None, Some(body)).await.expect(200);
    account(of.name, &grant, &of.person.id)
}

async fn refresh(gateway: &Edge, token: &str) -> Answer {
    gateway.call("POST", "/v1/auth/refresh", None, Some(json!({ "refresh_token": token }))).await
}

/// The session is over: said on its socket, and its token opens nothing any more, anywhere. How long the socket took.
async fn over(world: &World, socket: &mut Socket, person: &Person, since: Instant) -> Duration {
    socket.expect("session.ended").await;
    assert_eq!(socket.closed().await, 4403);
    let took = since.elapsed();
    for gateway in &world.gateways {
        let answer = gateway.call("GET", "/v1/auth/me", Some(person), None).await;
        assert_eq!((answer.status, answer.code().as_str()), (401, "unauthorized"));
        let mut late = gateway.open().await;
        assert_eq!(late.refused("hello", json!({ "token": person.token })).await, "unauthorized");
        assert_eq!(late.closed().await, 4401);
        let header = ("authorization", format!("Bearer {}", person.token));
        let handshake = Handshake { headers: vec![header], ..Handshake::default() };
        assert_eq!(Socket::open(gateway.address, handshake).await.err().unwrap().status, 401);
    }
    took
}

#[tokio::test]
async fn whatever_ends_a_session_closes_its_sockets_on_the_other_gateway() {
    let world = World::start().await;
    let (here, there) = (&world.gateways[0], &world.gateways[1]);
    let ann = register(here, "ann").await;
    let mut kept = there.connect(&ann.person).await;
    let mut took = vec![];

    // Logout.
    let tablet = login(here, &ann, PASSWORD).await;
    let mut socket = there.connect(&tablet.person).await;
    let since = Instant::now();
    here.call("POST", "/v1/auth/logout", Some(&tablet.person), None).await.expect(204);
    took.push(over(&world, &mut socket, &tablet.person, since).await);
    assert_eq!(refresh(there, &tablet.refresh).await.status, 401);

    // Ended from another device.
    let phone = login(here, &ann, PASSWORD).await;
    let session = here.connect(&phone.person).await.ok("hello", json!({})).await["session_id"].clone();
    let mut socket = there.connect(&phone.person).await;
    let since = Instant::now();
    let path = format!("/v1/auth/sessions/{}", session.as_str().unwrap());
    here.call("DELETE", &path, Some(&ann.person), None).await.expect(204);
    took.push(over(&world, &mut socket, &phone.person, since).await);

    // A refresh token seen a second time, after its grace: somebody has copied it.
    let stolen = login(here, &ann, PASSWORD).await;
    let mut socket = there.connect(&stolen.person).await;
    refresh(here, &stolen.refresh).await.expect(200);
    age_refresh_tokens(&world.database.store, Duration::from_secs(60)).await.unwrap();
    let since = Instant::now();
    assert_eq!(refresh(here, &stolen.refresh).await.status, 401);
    took.push(over(&world, &mut socket, &stolen.person, since).await);

    // A new password ends every session but the one that chose it.
    let laptop = login(here, &ann, PASSWORD).await;
    let mut socket = there.connect(&laptop.person).await;
    let since = Instant::now();
    let change = json!({ "current": PASSWORD, "new": "better horse battery" });
    here.call("PUT", "/v1/auth/password", Some(&ann.person), Some(change)).await.expect(204);
    took.push(over(&world, &mut socket, &laptop.person, since).await);
    kept.ok("conversation.list", json!({})).await;

    // All at once.
    let last = login(there, &ann, "better horse battery").await;
    let mut socket = there.connect(&last.person).await;
    let since = Instant::now();
    here.call("POST", "/v1/auth/logout-all", Some(&last.person), None).await.expect(204);
    took.push(over(&world, &mut socket, &last.person, since).await);
    over(&world, &mut kept, &ann.person, since).await;
    // Promised within a second; a machine that does other things at the same time may be late once or twice.
    assert!(took.iter().min().unwrap() < &Duration::from_secs(1), "{took:?}");
}

#[tokio::test]
async fn a_gateway_that_starts_later_knows_whose_session_is_over() {
    let mut world = World::set(&[]).await;
    let [ann, ben] = world.people(["Ann", "Ben"]).await;
    world.gateways[0].call("POST", "/v1/auth/logout", Some(&ann), None).await.expect(204);
    world.add_gateway().await;
    crate::world::until("the new gateway has read what ended", async || {
        world.gateways[1].call("GET", "/v1/auth/me", Some(&ann), None).await.status == 401
    })
    .await;
    let mut socket = world.gateways[1].open().await;
    assert_eq!(socket.refused("hello", json!({ "token": ann.token })).await, "unauthorized");
    world.gateways[1].connect(&ben).await;
}

#[tokio::test]
async fn a_browser_opens_a_socket_by_a_ticket_once() {
    let world = World::set(&[("CORS_ORIGIN", "https://chat.example.org")]).await;
    let [ann, ben] = world.people(["Ann", "Ben"]).await;
    let direct = world.direct(&ann, &ben).await;
    let gateway = &world.gateways[0];
    let ticket = async || {
        gateway.call("POST", "/v1/auth/ticket", Some(&ann), None).await.expect(200)["ticket"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let with = |ticket: &str, origin: Option<&str>| Handshake {
        query: format!("?ticket={ticket}"),
        headers: origin.map(|origin| ("origin", origin.to_owned())).into_iter().collect(),
        ..Handshake::default()
    };
    let first = ticket().await;
    let page = Some("https://chat.example.org");
    let foreign = Socket::open(gateway.address, with(&first, Some("https://evil.example.org"))).await.err().unwrap();
    assert_eq!((foreign.status, foreign.code().as_str()), (403, "forbidden"));
    // What another page tried did not use it up.
    let mut socket = gateway.open_with(with(&first, page)).await;
    // It is somebody already: events come without a word, and hello only asks.
    let told = socket.ok("hello", json!({})).await;
    assert_eq!((&told["user_id"], &told["live"]), (&json!(ann.id), &json!(true)));
    gateway.connect(&ben).await.say(&direct, "hi").await;
    socket.expect("message.created").await;
    for wrong in [first.as_str(), "nonsense", ""] {
        assert_eq!(Socket::open(gateway.address, with(wrong, page)).await.err().unwrap().status, 401, "{wrong}");
    }
    // A ticket ends with its session.
    let late = ticket().await;
    gateway.call("POST", "/v1/auth/logout", Some(&ann), None).await.expect(204);
    assert_eq!(Socket::open(gateway.address, with(&late, page)).await.err().unwrap().status, 401);
}

#[tokio::test]
async fn pages_of_other_origins_get_no_socket() {
    let world = World::set(&[("CORS_ORIGIN", "https://chat.example.org, http://localhost:5173")]).await;
    let ann = world.person("Ann").await;
    let gateway = &world.gateways[0];
    let from = |origin: &str| {
        let token = ("authorization", format!("Bearer {}", ann.token));
        Handshake { headers: vec![("origin", origin.to_owned()), token], ..Handshake::default() }
    };
    let own = format!("http://{}", gateway.address);
    for origin in ["https://chat.example.org", "http://localhost:5173", &own] {
        gateway.open_with(from(origin)).await.ok("conversation.list", json!({})).await;
    }
    for origin in ["https://chat.example.org.evil.example", "http://chat.example.org", "https://evil.example", "null"] {
        assert_eq!(Socket::open(gateway.address, from(origin)).await.err().unwrap().status, 403, "{origin}");
    }
    let spoken = |protocol: &str| Handshake {
        headers: vec![("sec-websocket-protocol", protocol.to_owned())],
        ..Handshake::default()
    };
    gateway.open_with(spoken("rookery.v1")).await.hello(&ann).await;
    assert_eq!(Socket::open(gateway.address, spoken("rookery.v9")).await.err().unwrap().status, 400);
}

#[tokio::test]
async fn who_does_not_say_who_he_is_is_sent_away() {
    let world = World::set(&[]).await;
    let [ann, ben] = world.people(["Ann", "Ben"]).await;
    let gateway = &world.gateways[0];
    let refresh_is_no_access = json!({ "token": gateway.app.refresh_tokens.first().text() });
    for hello in
        [json!({ "token": "nonsense" }), json!({}), json!({ "token": format!("{}x", ann.token) }), refresh_is_no_access]
    {
        let mut socket = gateway.open().await;
        assert_eq!(socket.refused("hello", hello).await, "unauthorized");
        assert_eq!(socket.closed().await, 4401);
    }
    for first in [
        r#"{"id":1,"cmd":"conversation.list"}"#,
        r#"{"cmd":"heartbeat"}"#,
        "{",
        r#"{"id":1,"cmd":"hello","data":{"toke":"x"}}"#,
    ] {
        let mut socket = gateway.open().await;
        socket.text(first).await;
        assert_eq!(socket.closed().await, 4401, "{first}");
    }
    let mut socket = gateway.connect(&ann).await;
    // Nobody becomes somebody else.
    let Err(Refused { code, .. }) = socket.ask("hello", json!({ "token": ben.token })).await else { panic!("twice") };
    assert_eq!(code, "invalid");
    socket.ok("conversation.list", json!({})).await;
}

/// The word that a session is over can be lost with an inbox: whoever joins anew looks for himself.
#[tokio::test]
async fn a_session_that_ended_unheard_is_closed_after_the_loss() {
    let world = World::start().await;
    let [ann, ben] = world.people(["Ann", "Ben"]).await;
    let (mut over, mut lives) = (world.gateways[1].connect(&ann).await, world.gateways[1].connect(&ben).await);
    world.run("UPDATE sessions SET ended_at = clock_timestamp() WHERE id = $1", &[&ann.session.0]).await;
    world.routing.lose_inbox(world.gateways[1].app.batcher.gateway().unwrap().id);
    over.expect("session.ended").await;
    assert_eq!(over.closed().await, 4403);
    lives.expect("resync").await;
    lives.ok("conversation.list", json!({})).await;
}
