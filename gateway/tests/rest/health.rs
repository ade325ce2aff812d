//! What probes and Prometheus ask.

use super::world::{World, app};
use shared::{
    config::{Config, Environment},
    store::Store,
};
use std::sync::{Arc, atomic::Ordering};
use tower::ServiceExt;

#[tokio::test]
async fn ready_is_when_every_part_is_there_and_nobody_leaves() {
    let world = World::start(&[]).await;
    assert_eq!(world.get("/health", None).await.expect(200).json()["status"], "ok");
    let not_yet = world.get("/health/ready", None).await.expect(503).json();
    assert_eq!((&not_yet["postgresql"], &not_yet["routing"]), (&"up".into(), &"down".into()));
    world.app.readiness.routing.store(true, Ordering::Relaxed);
    assert_eq!(world.get("/health/ready", None).await.expect(200).json()["status"], "ready");
    world.bus.set_blocked(true);
    assert_eq!(world.get("/health/ready", None).await.expect(503).json()["bus"], "blocked");
    world.bus.set_blocked(false);
    world.app.readiness.drain();
    let leaving = world.get("/health/ready", None).await.expect(503).json();
    assert_eq!((&leaving["status"], &leaving["draining"]), (&"not_ready".into(), &true.into()));
    assert_eq!(world.get("/health", None).await.expect(200).json()["status"], "ok");
}

#[tokio::test]
async fn the_database_and_the_files_are_asked_for() {
    let world = World::start(&[]).await;
    let database = world.get("/health/db", None).await.expect(200).json();
    assert_eq!(database["status"], "ok");
    assert!(database["latency_ms"].as_f64().unwrap() > 0.0);
    assert_eq!(database["pool"]["max"], 16);
    assert_eq!(world.get("/health/storage", None).await.expect(200).json()["status"], "not_configured");
    world.get("/metrics", None).await.expect_problem(404, "not_found");
    let keys = world.get("/.well-known/jwks.json", None).await.expect(200);
    assert_eq!(keys.json(), serde_json::json!({"keys": []}));
    assert_eq!(keys.header("cache-control"), Some("public, max-age=300"));
}

#[tokio::test]
async fn without_a_database_the_process_lives_and_says_so() {
    let env = Environment::of([
        ("JWT_SECRET", "a secret that only tests use, of more than 32 bytes"),
        ("DATABASE_URL", "postgres://nobody@127.0.0.1:1/none"),
    ]);
    let config = Config::read(&env).unwrap();
    let store = Store::new(&config.store).unwrap();
    let mut app = app(config, store);
    app.metrics = Some(Box::new(|| "rookery_up 1\n".to_owned()));
    let router = gateway::rest::router(Arc::new(app));
    let get = |path: &'static str| {
        let request = axum::extract::Request::get(path).body(axum::body::Body::empty()).unwrap();
        router.clone().oneshot(request)
    };
    assert_eq!(get("/health").await.unwrap().status(), 200);
    assert_eq!(get("/health/ready").await.unwrap().status(), 503);
    assert_eq!(get("/health/db").await.unwrap().status(), 503);
    let metrics = get("/metrics").await.unwrap();
    assert_eq!(metrics.headers()["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    let login = axum::extract::Request::post("/v1/auth/login")
        .header("content-type", "application/json")
        .body(axum::body::Body::from(r#"{"login":"ann","password":"x"}"#))
        .unwrap();
    let answer = router.clone().oneshot(login).await.unwrap();
    assert_eq!(answer.status(), 503);
    assert_eq!(answer.headers()["retry-after"], "1");
}
