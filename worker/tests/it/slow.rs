//! A slow line to Redis: everything takes its time in both directions, and comes in order.

use redis::{Client, ConnectionAddr};
use std::time::Duration;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream, UnixStream},
};

const DELAY: Duration = Duration::from_millis(3);

/// The address of its slow end.
pub async fn line_to(url: &str) -> String {
    let to = Client::open(url).unwrap().get_connection_info().addr().clone();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (client, _) = listener.accept().await.unwrap();
            match &to {
                ConnectionAddr::Tcp(host, port) => {
                    both_ways(client, TcpStream::connect((&**host, *port)).await.unwrap())
                }
                ConnectionAddr::Unix(path) => both_ways(client, UnixStream::connect(path).await.unwrap()),
                other => panic!("{other}"),
            }
        }
    });
    format!("redis://{address}")
}

fn both_ways(client: TcpStream, server: impl AsyncRead + AsyncWrite + Send + 'static) {
    let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), tokio::io::split(server));
    tokio::spawn(slowly(from_client, to_server));
    tokio::spawn(slowly(from_server, to_client));
}

async fn slowly(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        tokio::time::sleep(DELAY).await;
        if to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}
