//! The HTTP listener: our own accept loop over hyper, because `axum::serve` sets no header timeout and no
//! `TCP_NODELAY`. REST is answered here; a WebSocket leaves from here for its shard (`upgrade`).
//!
//! Bounds: connections, the size and number of headers (431), the time for them to be whole (then closed; an idle
//! keep-alive connection is closed by the same clock), the time an answer may lie unread, and the time a stop may take.

pub(crate) mod pace;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use metrics::{counter, gauge};
use pace::give_way;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

/// How soon a full process looks whether somebody has left.
const FULL_PAUSE: Duration = Duration::from_millis(50);

#[derive(Clone)]
pub struct Config {
    /// Request line and headers, bytes.
    pub headers: usize,
    pub header_count: usize,
    /// From the first moment of a connection, or the end of the last answer, until the headers are whole.
    pub header_time: Duration,
    /// An answer that the peer's machine takes nothing more of for so long is given up, and the connection with it.
    pub unread_time: Duration,
    /// HTTP connections and sockets together; one beyond it is closed as it comes.
    pub connections: usize,
    /// Other processes accept from the same socket: while this one is full, connections are left to them.
    pub shared: bool,
    /// How many sockets have been taken from HTTP and still live (`Shards::counts`).
    pub sockets: Arc<dyn Fn() -> usize + Send + Sync>,
    /// For requests in flight when the server stops.
    pub drain: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            headers: 16 << 10,
            header_count: 64,
            header_time: Duration::from_secs(5),
            unread_time: Duration::from_secs(30),
            connections: 1_000_000,
            shared: false,
            sockets: Arc::new(|| 0),
            drain: Duration::from_secs(10),
        }
    }
}

/// Listens on `address` with room for `backlog` connections that wait to be accepted.
pub fn listen(address: SocketAddr, backlog: i32) -> io::Result<TcpListener> {
    use socket2::{Domain, Protocol, Socket, Type};
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A restart must not wait for the old connections' TIME_WAIT.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(backlog)?;
    TcpListener::from_std(socket.into())
}

/// Serves until `stop`; then takes no new connection, lets requests in flight finish for `Config::drain`, and cuts off
/// the rest. Sockets that have left for their shards are not waited for.
pub async fn serve(listener: TcpListener, router: Router, config: Config, stop: CancellationToken) {
    let mut http = http1::Builder::new();
    // Without a timer hyper has no header timeout.
    http.timer(TokioTimer::new())
        .header_read_timeout(config.header_time)
        .max_buf_size(config.headers)
        .max_headers(config.header_count);
    let (connections, cut) = (TaskTracker::new(), CancellationToken::new());
    let refused = counter!("rookery_gateway_http_refused_total");
    let is_full = || connections.len() + (config.sockets)() >= config.connections;
    loop {
        while config.shared && is_full() && !stop.is_cancelled() {
            stop.run_until_cancelled(tokio::time::sleep(FULL_PAUSE)).await;
        }
        stop.run_until_cancelled(give_way()).await;
        let Some((socket, peer)) = accept(&listener, config.unread_time, &stop).await else { break };
        if is_full() {
            refused.increment(1);
            continue;
        }
        let connection = connection(http.clone(), socket, peer, router.clone(), stop.clone());
        let cut = cut.clone();
        connections.spawn(async move {
            let open = gauge!("rookery_gateway_http_connections");
            open.increment(1);
            cut.run_until_cancelled(connection).await;
            open.decrement(1);
        });
    }
    drop(listener);
    connections.close();
    if tokio::time::timeout(config.drain, connections.wait()).await.is_err() {
        tracing::warn!(connections = connections.len(), "requests in flight are cut off");
        cut.cancel();
        connections.wait().await;
    }
}

/// The next connection; `None` when it is time to stop. Out of file descriptors or memory, it waits for some to come
/// free instead of spinning; the wait doubles from 10 ms to 1 s.
async fn accept(
    listener: &TcpListener,
    unread_time: Duration,
    stop: &CancellationToken,
) -> Option<(TcpStream, SocketAddr)> {
    let mut pause = Duration::from_millis(10);
    loop {
        match stop.run_until_cancelled(listener.accept()).await? {
            Ok((socket, peer)) => {
                let options = socket2::SockRef::from(&socket);
                // A peer that does not read its answers is cut off by the kernel: hyper has no timeout for writing.
                if socket.set_nodelay(true).and(options.set_tcp_user_timeout(Some(unread_time))).is_ok() {
                    return Some((socket, peer));
                }
            }
            // Whoever shares it out has shut it for everybody, because all are to leave: connections are refused from then
            // on, and those that are here are served until the stop comes.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                stop.cancelled().await;
                return None;
            }
            // The peer went away while it waited.
            Err(error) if matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted) => {}
            Err(error) => {
                counter!("rookery_gateway_accept_errors_total").increment(1);
                tracing::warn!(%error, pause_ms = pause.as_millis() as u64, "cannot accept");
                stop.run_until_cancelled(tokio::time::sleep(pause)).await?;
                pause = (pause * 2).min(Duration::from_secs(1));
            }
        }
    }
}

async fn connection(
    http: http1::Builder,
    socket: TcpStream,
    peer: SocketAddr,
    router: Router,
    stop: CancellationToken,
) {
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(peer));
        let request: Request = request.map(Body::new);
        router.clone().oneshot(request)
    });
    let mut connection = pin!(http.serve_connection(TokioIo::new(socket), service).with_upgrades());
    let result = match stop.run_until_cancelled(connection.as_mut()).await {
        Some(result) => result,
        None => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result {
        // A client's doing: a timeout, a reset, bad HTTP.
        tracing::debug!(%error, "an HTTP connection ended");
    }
}
