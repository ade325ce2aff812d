//! An echo server on the gateway's own edge (accept loop, handshake, shards), for Autobahn's cases and for measuring:
//! `cargo run --profile plain -p gateway --example websocket_echo -- 127.0.0.1:9001`. See docs/conformance.md.
//!
//! Limits are raised to what Autobahn's group 9 sends: 16 MiB messages, and 4 MiB in fragments of 64 bytes.

use axum::extract::Request;
use axum::response::IntoResponse;
use axum::{Router, routing};
use gateway::shard::codec::{Limits, binary_frame, text_frame};
use gateway::shard::{Class, Closed, Config, ConnId, Cx, Message, Sessions, Shards};
use gateway::{server, upgrade};
use std::net::SocketAddr;
use tokio_util::sync::CancellationToken;

struct Echo;

impl Sessions for Echo {
    type Session = ();
    type Note = ();

    fn opened(&mut self, _: &mut Cx<'_>, _: &mut ()) {}

    fn message(&mut self, cx: &mut Cx<'_>, _: &mut (), message: Message<'_>) {
        let frame = match message {
            Message::Text(text) => text_frame(text.as_bytes()),
            Message::Binary(bytes) => binary_frame(bytes),
        };
        cx.send(frame, Class::Durable);
    }

    fn note(&mut self, _: &mut Cx<'_>, _: &mut (), _: ()) {}
    fn lagging(&mut self, _: &mut Cx<'_>, _: &mut ()) {}
    fn beat(&mut self, _: &mut Cx<'_>, _: &mut ()) {}
    fn deadline(&mut self, _: &mut Cx<'_>, _: &mut ()) {}
    fn closed(&mut self, _: ConnId, _: (), _: Closed) {}
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let address: SocketAddr = std::env::args().nth(1).as_deref().unwrap_or("127.0.0.1:9001").parse()?;
    let limits = Limits { message: 32 << 20, fragments: 1 << 20 };
    let config = Config { limits, outbox: 64 << 20, ..Config::default() };
    let cores = std::thread::available_parallelism()?.get();
    let shards = Shards::start(cores, config, |_| Echo)?;
    let socket = move |request: Request| async move {
        let terms = upgrade::Terms { origin: &|_| true, protocols: &[] };
        let adopt = move |socket, early| {
            // Stopped shards close the socket: nothing is left to do.
            let _ = shards.adopt(socket, early, ());
        };
        upgrade::upgrade(request, &terms, adopt).unwrap_or_else(|refused| refused.into_response())
    };
    let router = Router::new().route("/", routing::any(socket));
    let listener = server::listen(address, 4_096)?;
    server::serve(listener, router, server::Config::default(), CancellationToken::new()).await;
    Ok(())
}
