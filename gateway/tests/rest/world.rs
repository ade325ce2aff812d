//! A gateway of one's own: database, listener, and a client that says exactly what it is told.

use gateway::{app::App, rest, server};
use serde_json::{Value, json};
use shared::{bus::local::LocalBus, config::Config, routing::local::LocalRouting, store::Store, testing::TestDatabase};
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_util::sync::{CancellationToken, DropGuard};

pub const PASSWORD: &str = "correct horse battery";
/// Longer than anything here takes; a test that waits so long has failed.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub struct World {
    pub app: Arc<App>,
    pub database: TestDatabase,
    pub bus: Arc<LocalBus>,
    address: SocketAddr,
    _stop: DropGuard,
}

#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub text: String,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// A text at a JSON pointer.
    pub fn text_at(&self, pointer: &str) -> String {
        let json = self.json();
        json.pointer(pointer).and_then(Value::as_str).unwrap_or_else(|| panic!("no {pointer}: {self:?}")).to_owned()
    }

    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{self:?}");
        self
    }

    /// A problem with this code, said the same in status, body and headers.
    #[track_caller]
    pub fn expect_problem(self, status: u16, code: &str) -> Self {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        let problem = self.json();
        assert_eq!(problem["code"], code, "{self:?}");
        assert_eq!(problem["status"], status);
        assert_eq!(problem["type"], format!("urn:rookery:problem:{code}"));
        assert!(problem["title"].is_string() && problem["detail"].is_string(), "{self:?}");
        let seconds = problem["retry_after"].as_u64().map(|seconds| seconds.to_string());
        assert_eq!(self.header("retry-after"), seconds.as_deref(), "{self:?}");
        self
    }

    /// `invalid`, naming this field.
    #[track_caller]
    pub fn expect_invalid(self, field: &str) -> Self {
        let answer = self.expect_problem(400, "invalid");
        assert!(answer.json()["fields"][field].is_string(), "{field}: {answer:?}");
        answer
    }

    pub fn cookie(&self) -> Option<&str> {
        self.header("set-cookie")
    }
}

/// A person, as a login made him.
#[derive(Clone)]
pub struct Person {
    pub id: String,
    pub access: String,
    pub refresh: String,
}

impl Person {
    pub fn of(answer: &Answer) -> Self {
        Self {
            id: answer.text_at("/user/id"),
            access: answer.text_at("/access_token"),
            refresh: answer.text_at("/refresh_token"),
        }
    }
}

impl World {
    pub async fn start(settings: &[(&str, &str)]) -> Self {
        let database = TestDatabase::create_with(settings).await;
        let bus = Arc::new(LocalBus::new(database.config.worker.partitions, &[]));
        let app = Arc::new(app_with(database.config.clone(), database.store.clone(), bus.clone()));
        let listener = server::listen(([127, 0, 0, 1], 0).into(), 64).expect("a port");
        let address = listener.local_addr().expect("an address");
        let stop = CancellationToken::new();
        tokio::spawn(server::serve(listener, rest::router(app.clone()), server::Config::default(), stop.clone()));
        Self { app, database, bus, address, _stop: stop.drop_guard() }
    }

    /// One request on a connection of its own; `head` are whole header lines.
    pub async fn raw(&self, method: &str, path: &str, head: &[&str], body: &[u8]) -> Answer {
        raw_at(self.address, method, path, head, body).await
    }

    pub async fn get(&self, path: &str, person: Option<&Person>) -> Answer {
        self.call("GET", path, person, None).await
    }

    pub async fn post(&self, path: &str, person: Option<&Person>, body: Value) -> Answer {
        self.call("POST", path, person, Some(body)).await
    }

    pub async fn call(&self, method: &str, path: &str, person: Option<&Person>, body: Option<Value>) -> Answer {
        let authorization = person.map(|person| format!("Authorization: Bearer {}", person.access));
        let mut head: Vec<&str> = authorization.as_deref().into_iter().collect();
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        if !body.is_empty() {
            head.push("Content-Type: application/json");
        }
        self.raw(method, path, &head, body.as_bytes()).await
    }

    pub async fn register(&self, name: &str) -> Person {
        let body = json!({"username": name, "email": format!("{name}@example.org"), "password": PASSWORD});
        Person::of(&self.post("/v1/auth/register", None, body).await.expect(201))
    }

    pub async fn login(&self, name: &str, device: &str) -> Person {
        let body = json!({"login": name, "password": PASSWORD, "device": device});
        Person::of(&self.post("/v1/auth/login", None, body).await.expect(200))
    }

    pub async fn refresh(&self, token: &str) -> Answer {
        self.post("/v1/auth/refresh", None, json!({"refresh_token": token})).await
    }

    /// Is this person's access token taken?
    pub async fn is_in(&self, person: &Person) -> bool {
        let answer = self.get("/v1/auth/me", Some(person)).await;
        assert!(matches!(answer.status, 200 | 401), "{answer:?}");
        answer.status == 200
    }

    /// Sessions that the outbox says have ended: what closes sockets on every gateway.
    pub async fn handed_on(&self) -> usize {
        let rows = self.database.store.update_outbox_owner(1, 0.0).await.expect("the outbox");
        let events = rows.into_iter().flat_map(|row| row.events);
        events
            .map(|event| match event {
                shared::event::DurableEvent::SessionsEnded(sessions) => sessions.len(),
                other => panic!("not from here: {other:?}"),
            })
            .sum()
    }
}

/// One request on a connection of its own; `head` are whole header lines.
pub async fn raw_at(address: SocketAddr, method: &str, path: &str, head: &[&str], body: &[u8]) -> Answer {
    let mut request = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n").into_bytes();
    let lower = head.iter().map(|line| line.to_ascii_lowercase()).collect::<Vec<_>>();
    if !lower.iter().any(|line| line.starts_with("host:")) {
        request.extend(format!("Host: {}\r\n", address).bytes());
    }
    if !body.is_empty() {
        request.extend(format!("Content-Length: {}\r\n", body.len()).bytes());
    }
    for line in head {
        request.extend(format!("{line}\r\n").bytes());
    }
    request.extend(b"\r\n");
    request.extend(body);
    let answer = async {
        let mut socket = TcpStream::connect(address).await?;
        // A server that refuses early may close while we still write; its answer is there all the same.
        let (mut reading, mut writing) = socket.split();
        let mut answer = vec![];
        let (_, read) = tokio::join!(writing.write_all(&request), reading.read_to_end(&mut answer));
        if answer.is_empty() {
            read?;
        }
        std::io::Result::Ok(answer)
    };
    parse(&tokio::time::timeout(PATIENCE, answer).await.expect("an answer in time").expect("an answer"))
}

/// What accounts need: no worker, no socket.
pub fn app(config: Config, store: Store) -> App {
    let bus = Arc::new(LocalBus::new(config.worker.partitions, &[]));
    app_with(config, store, bus)
}

fn app_with(config: Config, store: Store, bus: Arc<LocalBus>) -> App {
    let (app, _) = App::new(config, store, bus, Arc::new(LocalRouting::new())).expect("a valid configuration");
    app
}

fn parse(answer: &[u8]) -> Answer {
    let text = std::str::from_utf8(answer).expect("UTF-8");
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no HTTP: {text:?}"));
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|status| status.parse().ok());
    let headers =
        lines.filter_map(|line| line.split_once(": ")).map(|(name, value)| (name.to_owned(), value.to_owned()));
    Answer { status: status.expect("a status"), headers: headers.collect(), text: body.to_owned() }
}
