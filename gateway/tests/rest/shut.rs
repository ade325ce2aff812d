//! A listener that several gateways share is shut by who shares it out, before any of them is told to leave.

use super::world::raw_at;
use gateway::server;
use std::{io::ErrorKind, net::Shutdown, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_util::sync::CancellationToken;

#[tokio::test]
async fn a_listener_shut_by_its_owner_refuses_at_once_and_who_is_connected_is_served() {
    let owned = server::listen(([127, 0, 0, 1], 0).into(), 16).unwrap().into_std().unwrap();
    let (address, stop) = (owned.local_addr().unwrap(), CancellationToken::new());
    let config = || server::Config { shared: true, drain: Duration::from_secs(5), ..server::Config::default() };
    let router = || axum::Router::new().route("/", axum::routing::get(async || "here"));
    let gateways: Vec<_> = (0..2)
        .map(|_| TcpListener::from_std(owned.try_clone().unwrap()).unwrap())
        .map(|listener| tokio::spawn(server::serve(listener, router(), config(), stop.clone())))
        .collect();
    assert_eq!(raw_at(address, "GET", "/", &[], b"").await.expect(200).text, "here");
    let mut connected = TcpStream::connect(address).await.unwrap();
    let mut ask = async || {
        connected.write_all(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n").await.unwrap();
        let mut answer = [0; 512];
        let length = connected.read(&mut answer).await.unwrap();
        assert!(answer[..length].starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&answer));
    };
    ask().await;

    socket2::SockRef::from(&owned).shutdown(Shutdown::Both).unwrap();
    assert_eq!(TcpStream::connect(address).await.unwrap_err().kind(), ErrorKind::ConnectionRefused);
    ask().await;
    assert!(gateways.iter().all(|gateway| !gateway.is_finished()), "nobody has told them to leave");
    stop.cancel();
    for gateway in gateways {
        gateway.await.unwrap();
    }
}
