//! The small listener of a process that serves no clients: `/health` (it runs), `/health/ready` (it can do its work) and
//! `/metrics`, for supervisors and Prometheus. A gateway has the same on its own port.

use crate::telemetry;
use bytes::Bytes;
use http_body_util::Full;
use hyper::{Method, Request, Response, StatusCode, body::Incoming, header, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::{io, net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time,
};
use tokio_util::sync::CancellationToken;

/// Connections at once; more wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 32;
/// For the head of a request, and for the whole of a connection, so that nobody keeps one of the few.
const HEAD_TIME: Duration = Duration::from_secs(5);
const CONNECTION_TIME: Duration = Duration::from_secs(60);
const HEAD_BYTES_MAX: usize = 8 * 1024;
/// After a failed accept, mostly for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// `Err` says what is missing, in words for an operator.
pub type Ready = dyn Fn() -> Result<(), String> + Send + Sync;

pub struct Probe {
    listener: TcpListener,
}

impl Probe {
    /// Port 0 takes a free one.
    pub async fn bind(address: SocketAddr) -> io::Result<Self> {
        Ok(Self { listener: TcpListener::bind(address).await? })
    }

    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `stop`. `ready` is asked at each request and must not wait.
    pub async fn run(self, ready: Arc<Ready>, stop: CancellationToken) {
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let place = places.clone().acquire_owned().await.expect("cannot fail because nobody closes it");
            let accepted = tokio::select! {
                () = stop.cancelled() => return,
                accepted = self.listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, _)) => {
                    let (ready, stop) = (ready.clone(), stop.clone());
                    tokio::spawn(async move {
                        tokio::select! {
                            () = stop.cancelled() => {}
                            _ = time::timeout(CONNECTION_TIME, serve(stream, &*ready)) => {}
                        }
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "the probe cannot accept a connection");
                    time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

async fn serve(stream: TcpStream, ready: &Ready) {
    let service =
        service_fn(|request: Request<Incoming>| std::future::ready(Ok::<_, hyper::Error>(answer(&request, ready))));
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "a connection to the probe broke");
    }
}

fn answer(request: &Request<Incoming>, ready: &Ready) -> Response<Full<Bytes>> {
    const JSON: &str = "application/json";
    let (status, kind, text) = match (request.method(), request.uri().path()) {
        (&Method::GET | &Method::HEAD, path) => match path {
            "/health" => (StatusCode::OK, JSON, r#"{"status":"ok"}"#.to_owned()),
            "/health/ready" => match ready() {
                Ok(()) => (StatusCode::OK, JSON, r#"{"status":"ready"}"#.to_owned()),
                Err(why) => {
                    let json = serde_json::json!({ "status": "not_ready", "detail": why });
                    (StatusCode::SERVICE_UNAVAILABLE, JSON, json.to_string())
                }
            },
            "/metrics" => (StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", telemetry::metrics()),
            _ => (StatusCode::NOT_FOUND, JSON, r#"{"code":"not_found"}"#.to_owned()),
        },
        _ => (StatusCode::METHOD_NOT_ALLOWED, JSON, r#"{"code":"method_not_allowed"}"#.to_owned()),
    };
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-store"));
    if status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(header::ALLOW, header::HeaderValue::from_static("GET, HEAD"));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    async fn ask(address: SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream
            .write_all(format!("{request} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes())
            .await
            .unwrap();
        let mut answer = String::new();
        time::timeout(Duration::from_secs(10), stream.read_to_string(&mut answer)).await.unwrap().unwrap();
        answer
    }

    async fn start() -> (SocketAddr, Arc<AtomicBool>, CancellationToken, tokio::task::JoinHandle<()>) {
        let probe = Probe::bind(([127, 0, 0, 1], 0).into()).await.unwrap();
        let (address, is_ready, stop) =
            (probe.address().unwrap(), Arc::new(AtomicBool::new(false)), CancellationToken::new());
        let asked = is_ready.clone();
        let ready =
            move || if asked.load(Ordering::Relaxed) { Ok(()) } else { Err("PostgreSQL is \"away\"".to_owned()) };
        let running = tokio::spawn(probe.run(Arc::new(ready), stop.clone()));
        (address, is_ready, stop, running)
    }

    #[tokio::test]
    async fn it_says_how_the_process_is() {
        let (address, is_ready, _stop, _running) = start().await;
        assert!(ask(address, "GET /health").await.starts_with("HTTP/1.1 200 "));
        let not_ready = ask(address, "GET /health/ready").await;
        assert!(
            not_ready.starts_with("HTTP/1.1 503 ") && not_ready.contains(r#""detail":"PostgreSQL is \"away\"""#),
            "{not_ready}"
        );
        is_ready.store(true, Ordering::Relaxed);
        assert!(ask(address, "GET /health/ready").await.ends_with(r#"{"status":"ready"}"#));
        assert!(ask(address, "GET /metrics").await.contains("process_start_time_seconds"));
    }

    #[tokio::test]
    async fn it_answers_nothing_else() {
        let (address, ..) = start().await;
        assert!(ask(address, "GET /").await.starts_with("HTTP/1.1 404 "));
        assert!(ask(address, "POST /health").await.contains("allow: GET, HEAD"));
        let head = ask(address, "HEAD /health").await;
        assert!(head.starts_with("HTTP/1.1 200 ") && head.ends_with("\r\n\r\n"), "{head}");
    }

    #[tokio::test]
    async fn it_ends_with_the_process_whoever_is_connected() {
        let (address, _, stop, running) = start().await;
        let mut idle = TcpStream::connect(address).await.unwrap();
        assert!(ask(address, "GET /health").await.starts_with("HTTP/1.1 200 "));
        stop.cancel();
        running.await.unwrap();
        assert_eq!(time::timeout(Duration::from_secs(10), idle.read(&mut [0; 8])).await.unwrap().unwrap(), 0);
    }
}
