//! Connecting and shaking hands: TCP from several source addresses, then tokio-tungstenite's client handshake, all of
//! a wave at once. What comes out is the bare socket: the server says nothing before hello, so the handshake's reader
//! holds no byte of what follows.

use crate::http::Server;
use crate::wire::tungstenite::config;
use anyhow::{Context, Result};
use futures_util::future::try_join_all;
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;
use tokio_tungstenite::client_async_with_config;
use tokio_tungstenite::tungstenite::ClientRequestBuilder;
use tokio_tungstenite::tungstenite::http::Uri;

const SUBPROTOCOL: &str = "rookery.v1";
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);

/// One upgraded, non-blocking socket for each of the wave, in its order.
pub async fn dial(server: &Server, sources: u8, wave: &[(usize, Arc<str>)]) -> Result<Vec<TcpStream>> {
    try_join_all(wave.iter().map(|(place, _)| one(server, sources, *place))).await
}

/// One such socket, for this place.
pub async fn one(server: &Server, sources: u8, place: usize) -> Result<TcpStream> {
    let uri: Uri = format!("ws://{}/v1/ws", server.authority).parse().context("the socket's address")?;
    let handshake = shake(server, sources, place, uri);
    tokio::time::timeout(HANDSHAKE_LIMIT, handshake).await.context("no WebSocket handshake within 10 s")?
}

async fn shake(server: &Server, sources: u8, place: usize, uri: Uri) -> Result<TcpStream> {
    let stream = server.connect(server.source(place, sources)).await;
    let stream = stream.with_context(|| format!("connecting socket {place} to {}", server.address))?;
    let request = ClientRequestBuilder::new(uri).with_sub_protocol(SUBPROTOCOL);
    let handshake = client_async_with_config(request, stream, Some(config())).await;
    let (socket, _) = handshake.with_context(|| format!("the WebSocket handshake of socket {place}"))?;
    Ok(socket.into_inner().into_std()?)
}
