//! A gateway that cannot serve yet, by its listener.

use super::world::{Answer, raw_at};
use gateway::{server, starting};
use std::net::SocketAddr;
use tokio_util::sync::CancellationToken;

async fn ask_at(address: SocketAddr, method: &str, path: &str) -> Answer {
    raw_at(address, method, path, &[], b"").await
}

#[tokio::test]
async fn while_it_starts_it_lives_and_tells_everybody_to_come_again() {
    let listener = server::listen(([127, 0, 0, 1], 0).into(), 16).unwrap();
    let (address, over) = (listener.local_addr().unwrap(), CancellationToken::new());
    let serving = tokio::spawn(starting::serve(listener, 16, over.clone()));
    assert_eq!(ask_at(address, "GET", "/health").await.expect(200).json()["status"], "ok");
    let not_ready = ask_at(address, "GET", "/health/ready").await.expect(503).json();
    assert_eq!(not_ready["status"], "not_ready");
    for (method, path) in [("GET", "/v1/ws"), ("GET", "/v1/users"), ("POST", "/v1/auth/login")] {
        let refused = ask_at(address, method, path).await.expect_problem(503, "unavailable");
        assert_eq!(refused.header("retry-after"), Some("1"));
    }
    over.cancel();
    serving.await.unwrap();
}
