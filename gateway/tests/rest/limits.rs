//! Limits that a client can ask for, and registrations.

use super::world::World;
use serde_json::json;

#[tokio::test]
async fn the_limits_are_told_to_anybody() {
    let world = World::start(&[]).await;
    let limits = world.get("/v1/limits", None).await.expect(200).json();
    for (name, value) in [
        ("username_max_chars", 32),
        ("email_max", 254),
        ("password_max", 1024),
        ("body_max", 16_384),
        ("request_body_max", 1_048_576),
        ("page_max", 100),
        ("sessions_per_user_max", 100),
        ("hello_seconds", 10),
    ] {
        assert_eq!(limits[name], value, "{name}");
    }
}

#[tokio::test]
async fn registrations_are_limited_per_address() {
    let world = World::start(&[("LIMIT_REGISTER_PER_ADDRESS", "2")]).await;
    world.register("ann").await;
    world.register("bob").await;
    let body = json!({"username": "eve", "email": "eve@example.org", "password": "correct horse battery"});
    let problem = world.post("/v1/auth/register", None, body).await.expect_problem(429, "rate_limited");
    assert!(problem.header("retry-after").unwrap().parse::<u32>().unwrap() <= 30);
}
