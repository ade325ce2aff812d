//! A way to RabbitMQ that a test may cut, close, or make swallow what goes through it; and that can speak as the broker.

use shared::config::{ClusterConfig, Secret, test_amqp_url};
use std::net::SocketAddr;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{broadcast, watch},
    task::JoinSet,
};
use tokio_util::task::AbortOnDropHandle;

#[derive(Clone, Copy)]
struct Way {
    /// To the broker, and from it. What is not let through waits.
    up: bool,
    down: bool,
    /// New connections end at once.
    closed: bool,
    /// Raised to end those that are there.
    cuts: u32,
}

pub struct Proxy {
    address: SocketAddr,
    way: watch::Sender<Way>,
    words: broadcast::Sender<Vec<u8>>,
    _task: AbortOnDropHandle<()>,
}

impl Proxy {
    pub async fn start() -> Self {
        let broker = broker();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let way = watch::Sender::new(Way { up: true, down: true, closed: false, cuts: 0 });
        let words = broadcast::Sender::new(16);
        let task = tokio::spawn(accept(listener, broker, way.clone(), words.clone()));
        Self { address, way, words, _task: AbortOnDropHandle::new(task) }
    }

    /// The same cluster, by this way.
    pub fn config(&self, direct: &ClusterConfig) -> ClusterConfig {
        let url = direct.amqp.as_ref().expect("made with one").expose();
        let url = url.replacen(&broker(), &self.address.to_string(), 1);
        ClusterConfig { amqp: Some(Secret::new(url)), ..direct.clone() }
    }

    /// What is there ends; new ones come through.
    pub fn cut(&self) {
        self.way.send_modify(|way| way.cuts += 1);
    }

    pub fn close(&self) {
        self.way.send_modify(|way| {
            way.closed = true;
            way.cuts += 1;
        });
    }

    pub fn hold(&self, up: bool, down: bool) {
        self.way.send_modify(|way| (way.up, way.down) = (!up, !down));
    }

    pub fn open(&self) {
        self.way.send_modify(|way| *way = Way { up: true, down: true, closed: false, cuts: way.cuts });
    }

    /// A method of class `connection`, as if the broker had sent it to everybody. Between two frames of its own: when
    /// nothing is in flight.
    pub fn say(&self, method: u16, arguments: &[u8]) {
        let mut frame = vec![1, 0, 0];
        frame.extend((4 + arguments.len() as u32).to_be_bytes());
        frame.extend(10u16.to_be_bytes());
        frame.extend(method.to_be_bytes());
        frame.extend(arguments);
        frame.push(0xce);
        self.words.send(frame).expect("somebody is connected");
    }
}

/// Host and port of the test RabbitMQ.
fn broker() -> String {
    let url = test_amqp_url().expect("ROOKERY_TEST_AMQP_URL names a RabbitMQ");
    let authority = url.split("://").nth(1).and_then(|rest| rest.split(['/', '?']).next()).expect("a host");
    authority.rsplit('@').next().filter(|host| host.contains(':')).expect("a host with its port").to_owned()
}

async fn accept(listener: TcpListener, broker: String, way: watch::Sender<Way>, words: broadcast::Sender<Vec<u8>>) {
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        if way.borrow().closed {
            continue;
        }
        let Ok(server) = TcpStream::connect(&broker).await else { continue };
        client.set_nodelay(true).expect("a socket");
        server.set_nodelay(true).expect("a socket");
        let cuts = way.borrow().cuts;
        let (mut cutting, up, down, words) = (way.subscribe(), way.subscribe(), way.subscribe(), words.subscribe());
        connections.spawn(async move {
            let (from_client, to_client) = client.into_split();
            let (from_server, to_server) = server.into_split();
            tokio::select! {
                _ = cutting.wait_for(|way| way.cuts != cuts) => {}
                () = copy(from_client, to_server, up, |way| way.up, None) => {}
                () = copy(from_server, to_client, down, |way| way.down, Some(words)) => {}
            }
        });
    }
}

async fn copy(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut way: watch::Receiver<Way>,
    is_open: fn(&Way) -> bool,
    mut words: Option<broadcast::Receiver<Vec<u8>>>,
) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let said = async {
            match &mut words {
                Some(words) => words.recv().await.unwrap_or_default(),
                None => std::future::pending().await,
            }
        };
        let bytes = tokio::select! {
            word = said => word,
            read = from.read(&mut buffer) => match read {
                Ok(count) if count > 0 => {
                    if way.wait_for(is_open).await.is_err() {
                        return;
                    }
                    buffer[..count].to_vec()
                }
                _ => return,
            },
        };
        if to.write_all(&bytes).await.is_err() {
            return;
        }
    }
}
