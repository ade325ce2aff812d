//! The product as balancers, browsers and Prometheus see it.

use crate::world::{Handshake, World};
use serde_json::json;

#[tokio::test]
async fn probes_and_figures() {
    let world = World::set(&[]).await;
    let [ann, ben] = world.people(["Ann", "Ben"]).await;
    let gateway = &world.gateways[0];
    let get = async |path: &str| gateway.call("GET", path, None, None).await;
    assert_eq!(get("/health").await.expect(200), json!({ "status": "ok" }));
    let ready = json!({ "status": "ready", "postgresql": "up", "bus": "up", "routing": "up", "draining": false });
    assert_eq!(get("/health/ready").await.expect(200), ready);
    let database = get("/health/db").await.expect(200);
    assert!(database["latency_ms"].as_f64().unwrap() > 0.0 && database["pool"]["max"] == 4, "{database}");
    let direct = world.direct(&ann, &ben).await;
    gateway.connect(&ann).await.say(&direct, "counted").await;
    let metrics = get("/metrics").await;
    assert!(metrics.header("content-type").unwrap().starts_with("text/plain"));
    for name in ["rookery_messages_stored_total", "rookery_http_requests_total", "rookery_sequencer_commit_seconds"] {
        assert!(metrics.text.contains(name), "{name} is not in\n{}", metrics.text);
    }
    for secret in [&ann.id, &ben.id, &direct, &ann.session.to_string()] {
        assert!(!metrics.text.contains(secret.as_str()), "no figure is about one person or one conversation");
    }
    let id = ["X-Request-Id: from-the-client-7".to_owned()];
    assert_eq!(gateway.raw("GET", "/v1/limits", &id, None).await.header("x-request-id"), Some("from-the-client-7"));
}

/// A page's whole way in: preflight, REST with its token, ticket, socket; and the same of a page that is not listed.
#[tokio::test]
async fn one_list_says_which_pages_may() {
    let world =
        World::set(&[("CORS_ORIGIN", "https://chat.example.org"), ("FRONTEND_URL", "https://two.example.org")]).await;
    let ann = world.person("Ann").await;
    let gateway = &world.gateways[0];
    let pages =
        [("https://chat.example.org", true), ("https://two.example.org", true), ("https://three.example.org", false)];
    for (origin, may) in pages {
        let allowed = may.then_some(origin);
        let origin_line = format!("Origin: {origin}");
        let asks = [origin_line.clone(), "Access-Control-Request-Method: POST".into()];
        let preflight = gateway.raw("OPTIONS", "/v1/auth/ticket", &asks, None).await;
        assert_eq!((preflight.status, preflight.header("access-control-allow-origin")), (204, allowed));
        let head = [origin_line, format!("Authorization: Bearer {}", ann.token)];
        let ticket = gateway.raw("POST", "/v1/auth/ticket", &head, None).await;
        assert_eq!(ticket.header("access-control-allow-origin"), allowed);
        assert_eq!(ticket.header("access-control-allow-credentials"), may.then_some("true"));
        let query = format!("?ticket={}", ticket.json()["ticket"].as_str().unwrap());
        let handshake = Handshake { headers: vec![("origin", origin.to_owned())], query, ..Handshake::default() };
        match crate::world::Socket::open(gateway.address, handshake).await {
            Ok(mut socket) => assert!(may && socket.ok("hello", json!({})).await["user_id"] == ann.id.as_str()),
            Err(refused) => assert!(!may && refused.status == 403),
        }
    }
}
