//! What is around every request.

use super::world::World;
use serde_json::json;

const JSON: &str = "Content-Type: application/json";

#[tokio::test]
async fn nowhere_and_the_wrong_method_are_problems() {
    let world = World::start(&[]).await;
    for path in [
        "/",
        "/v1",
        "/v1/",
        "/v1/nowhere",
        "/v2/auth/login",
        "/v1/auth",
        "/v1//auth/me",
        "/v1/../health",
        "/%00",
        "/V1/limits",
    ] {
        world.raw("GET", path, &[], b"").await.expect_problem(404, "not_found");
    }
    for (method, path, allowed) in [
        ("GET", "/v1/auth/login", "POST"),
        ("POST", "/v1/limits", "GET,HEAD"),
        ("DELETE", "/v1/users", "GET,HEAD"),
        ("TRACE", "/health", "GET,HEAD"),
        ("BREW", "/health", "GET,HEAD"),
    ] {
        let answer = world.raw(method, path, &[], b"").await.expect_problem(405, "method_not_allowed");
        assert_eq!(answer.header("allow"), Some(allowed));
    }
    let head = world.raw("HEAD", "/health", &[], b"").await.expect(200);
    assert_eq!(head.text, "");
    world.raw("HEAD", "/v1/auth/me", &[], b"").await.expect(401);
}

#[tokio::test]
async fn one_request_id_from_the_client_and_back() {
    let world = World::start(&[]).await;
    let answer = world.raw("GET", "/health", &["X-Request-Id: story-7"], b"").await;
    assert_eq!(answer.header("x-request-id"), Some("story-7"));
    for bad in ["X-Request-Id: a b", "X-Request-Id: \"", "X-Y: z"] {
        let answer = world.raw("GET", "/nowhere", &[bad], b"").await;
        assert_eq!(answer.header("x-request-id").map(str::len), Some(36), "{answer:?}");
    }
}

#[tokio::test]
async fn bodies_are_bounded_and_must_be_json() {
    let world = World::start(&[]).await;
    let post = |body: Vec<u8>| {
        let world = &world;
        async move { world.raw("POST", "/v1/auth/login", &[JSON], &body).await }
    };
    let filled = |size: usize| {
        let mut body = json!({"login": "ann", "password": "x"}).to_string().into_bytes();
        body.resize(size, b' ');
        body
    };
    post(filled(1024 * 1024)).await.expect_problem(401, "wrong_credentials");
    post(filled(1024 * 1024 + 1)).await.expect_problem(413, "too_large");
    for bad in
        ["{", "nonsense", "{\"login\":\"\\ud800\"}", "\u{feff}{}", "{\"login\":\"a\",\"password\":\"b\"}}", "'a'"]
    {
        post(bad.as_bytes().to_vec()).await.expect_problem(400, "malformed");
    }
    post(b"{\"login\":\"\xff\"}".to_vec()).await.expect_problem(400, "malformed");
    post("[".repeat(100_000).into_bytes()).await.expect_problem(400, "malformed");
    post(format!("{{\"login\":{}{}}}", "[".repeat(32), "]".repeat(32)).into_bytes())
        .await
        .expect_problem(400, "malformed");
    post(b"{\"login\":\"a\",\"login\":\"b\",\"password\":\"x\"}".to_vec()).await.expect_invalid("login");
    world.raw("POST", "/v1/auth/login", &[], b"{}").await.expect_problem(415, "unsupported_media");
}

#[tokio::test]
async fn requests_are_limited_per_address_as_trusted_proxies_see_it() {
    let world = World::start(&[("LIMIT_REQUESTS_PER_ADDRESS", "2"), ("TRUSTED_PROXIES", "127.0.0.1")]).await;
    let from = |address: &'static str| {
        let world = &world;
        async move { world.raw("GET", "/v1/limits", &[address], b"").await }
    };
    for _ in 0..2 {
        from("X-Forwarded-For: 192.0.2.1").await.expect(200);
    }
    from("X-Forwarded-For: 192.0.2.1").await.expect_problem(429, "rate_limited");
    from("X-Forwarded-For: 198.51.100.1, 192.0.2.1").await.expect_problem(429, "rate_limited");
    from("X-Forwarded-For: 192.0.2.2").await.expect(200);
    from("X-Forwarded-For: 2001:db8::1").await.expect(200);
    from("X-Forwarded-For: 2001:db8::2").await.expect(200);
    from("X-Forwarded-For: 2001:db8::3").await.expect_problem(429, "rate_limited");
    for _ in 0..5 {
        world.raw("GET", "/health", &["X-Forwarded-For: 192.0.2.1"], b"").await.expect(200);
    }

    let world = World::start(&[("LIMIT_REQUESTS_PER_ADDRESS", "2")]).await;
    for forged in ["X-Forwarded-For: 192.0.2.1", "X-Forwarded-For: 192.0.2.2"] {
        world.raw("GET", "/v1/limits", &[forged], b"").await.expect(200);
    }
    let forged = "X-Forwarded-For: 192.0.2.3";
    world.raw("GET", "/v1/limits", &[forged], b"").await.expect_problem(429, "rate_limited");
}
