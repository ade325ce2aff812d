//! What a browser is told: cookies, origins, preflights, headers.

use super::world::{PASSWORD, World};
use serde_json::json;

const JSON: &str = "Content-Type: application/json";
const APP: &str = "https://app.example.org";

fn credentials() -> String {
    json!({"login": "ann", "password": PASSWORD}).to_string()
}

#[tokio::test]
async fn the_cookie_byte_for_byte() {
    let world = World::start(&[]).await;
    world.register("ann").await;
    let login = |head: &'static str| {
        let body = credentials();
        let world = &world;
        async move { world.raw("POST", "/v1/auth/login", &[JSON, head], body.as_bytes()).await.expect(200) }
    };
    for host in ["Host: chat.example.org", "Host: 10.0.0.5:3000"] {
        let answer = login(host).await;
        let token = answer.text_at("/refresh_token");
        let cookie = format!("rookery_refresh={token}; Path=/v1/auth; Max-Age=2592000; HttpOnly; Secure; SameSite=Lax");
        assert_eq!(answer.cookie(), Some(&*cookie));
    }
    for host in ["Host: localhost:3000", "Host: 127.0.0.1", "Host: [::1]:3000"] {
        let answer = login(host).await;
        let token = answer.text_at("/refresh_token");
        let cookie = format!("rookery_refresh={token}; Path=/v1/auth; Max-Age=2592000; HttpOnly; SameSite=Lax");
        assert_eq!(answer.cookie(), Some(&*cookie));
    }
    let world = World::start(&[("COOKIE_SAMESITE", "none"), ("REFRESH_EXPIRES_IN", "1h")]).await;
    world.register("ann").await;
    let answer =
        world.raw("POST", "/v1/auth/login", &[JSON, "Host: localhost"], credentials().as_bytes()).await.expect(200);
    let token = answer.text_at("/refresh_token");
    let cookie = format!("rookery_refresh={token}; Path=/v1/auth; Max-Age=3600; HttpOnly; Secure; SameSite=None");
    assert_eq!(answer.cookie(), Some(&*cookie));
}

#[tokio::test]
async fn a_page_refreshes_and_logs_out_by_its_cookie() {
    let world = World::start(&[("CORS_ORIGIN", APP)]).await;
    let ann = world.register("ann").await;
    let cookie = format!("Cookie: theme=dark; rookery_refresh={}", ann.refresh);
    let by_cookie = |path: &'static str, cookie: String, origin: &'static str| {
        let world = &world;
        async move { world.raw("POST", path, &["Host: chat.example.org", &cookie, origin], b"").await }
    };
    for origin in [
        "Origin: https://evil.net",
        "Origin: null",
        "Origin: https://app.example.org.evil.net",
        "Origin: http://app.example.org",
        "Origin: https://chat.example.org:8443",
        "Sec-Fetch-Site: cross-site",
        "Sec-Fetch-Site: same-site",
    ] {
        for path in ["/v1/auth/refresh", "/v1/auth/logout"] {
            by_cookie(path, cookie.clone(), origin).await.expect_problem(403, "forbidden");
        }
    }
    assert!(world.is_in(&ann).await);
    let mut token = ann.refresh.clone();
    for origin in
        ["Origin: https://app.example.org", "Origin: https://chat.example.org", "Sec-Fetch-Site: same-origin", "X: y"]
    {
        let cookie = format!("Cookie: rookery_refresh={token}");
        let answer = by_cookie("/v1/auth/refresh", cookie, origin).await.expect(200);
        token = answer.text_at("/refresh_token");
        assert!(answer.cookie().unwrap().starts_with(&format!("rookery_refresh={token};")));
    }
    let cookie = format!("Cookie: rookery_refresh={token}");
    let answer = by_cookie("/v1/auth/logout", cookie.clone(), "Origin: https://app.example.org").await.expect(204);
    assert_eq!(answer.cookie(), Some("rookery_refresh=; Path=/v1/auth; Max-Age=0; HttpOnly; Secure; SameSite=Lax"));
    assert!(!world.is_in(&ann).await);
    by_cookie("/v1/auth/logout", cookie, "Origin: https://app.example.org").await.expect_problem(401, "unauthorized");
}

#[tokio::test]
async fn a_form_of_another_page_gets_nowhere() {
    let world = World::start(&[("COOKIE_SAMESITE", "none")]).await;
    let ann = world.register("ann").await;
    let cookie = format!("Cookie: rookery_refresh={}", ann.refresh);
    for content in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"] {
        let content = format!("Content-Type: {content}");
        let body = json!({"login": "ann", "password": PASSWORD}).to_string();
        world
            .raw("POST", "/v1/auth/login", &[&content], body.as_bytes())
            .await
            .expect_problem(415, "unsupported_media");
        world
            .raw("POST", "/v1/auth/refresh", &[&content, &cookie], b"{}")
            .await
            .expect_problem(415, "unsupported_media");
    }
    world.raw("GET", "/v1/auth/refresh", &[&cookie], b"").await.expect_problem(405, "method_not_allowed");
    world.raw("GET", "/v1/auth/logout", &[&cookie], b"").await.expect_problem(405, "method_not_allowed");
}

#[tokio::test]
async fn a_cookie_is_no_access_token() {
    let world = World::start(&[]).await;
    let ann = world.register("ann").await;
    for cookie in [format!("Cookie: rookery_refresh={}", ann.refresh), format!("Cookie: access_token={}", ann.access)] {
        world.raw("GET", "/v1/auth/me", &[&cookie], b"").await.expect_problem(401, "unauthorized");
    }
    for path in ["/v1/auth/me?access_token=", "/v1/auth/me?token="] {
        world.raw("GET", &format!("{path}{}", ann.access), &[], b"").await.expect_problem(401, "unauthorized");
    }
}

#[tokio::test]
async fn preflights_by_the_list() {
    let world = World::start(&[("CORS_ORIGIN", APP)]).await;
    let preflight = |path: &'static str, origin: &'static str| {
        let world = &world;
        async move { world.raw("OPTIONS", path, &[origin, "Access-Control-Request-Method: POST"], b"").await.expect(204) }
    };
    for path in ["/v1/auth/login", "/v1/users/x", "/health", "/v1/nowhere"] {
        let answer = preflight(path, "Origin: https://app.example.org").await;
        assert_eq!(answer.header("access-control-allow-origin"), Some(APP));
        assert_eq!(answer.header("access-control-allow-credentials"), Some("true"));
        assert_eq!(answer.header("access-control-allow-methods"), Some("GET, HEAD, POST, PUT, PATCH, DELETE"));
        assert_eq!(
            answer.header("access-control-allow-headers"),
            Some("authorization, content-type, idempotency-key, x-request-id")
        );
        assert_eq!(answer.header("vary"), Some("origin"));
        let answer = preflight(path, "Origin: https://evil.net").await;
        assert_eq!(answer.header("access-control-allow-origin"), None);
        assert_eq!(answer.header("access-control-allow-credentials"), None);
    }
    let answer = world.raw("GET", "/health", &["Origin: https://app.example.org"], b"").await.expect(200);
    assert_eq!(answer.header("access-control-allow-origin"), Some(APP));
    assert_eq!(answer.header("access-control-expose-headers"), Some("x-request-id, retry-after"));
    let answer = world.raw("GET", "/v1/auth/me", &["Origin: https://app.example.org"], b"").await.expect(401);
    assert_eq!(answer.header("access-control-allow-origin"), Some(APP), "a page may read its problems");
    let answer = world.raw("GET", "/health", &["Origin: null"], b"").await.expect(200);
    assert_eq!(answer.header("access-control-allow-origin"), None);
}

#[tokio::test]
async fn any_origin_is_never_with_credentials() {
    let world = World::start(&[("CORS_ORIGIN", "*, https://app.example.org")]).await;
    let answer = world.raw("GET", "/health", &["Origin: https://anything.net"], b"").await.expect(200);
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    assert_eq!(answer.header("access-control-allow-credentials"), None);
    let answer = world.raw("GET", "/health", &["Origin: https://app.example.org"], b"").await.expect(200);
    assert_eq!(answer.header("access-control-allow-origin"), Some(APP));
    assert_eq!(answer.header("access-control-allow-credentials"), Some("true"));
}

#[tokio::test]
async fn every_answer_carries_what_browsers_obey() {
    let world = World::start(&[("TRUSTED_PROXIES", "127.0.0.1")]).await;
    for (path, status) in
        [("/health", 200), ("/v1/limits", 200), ("/v1/auth/me", 401), ("/nowhere", 404), ("/v1/auth/login", 405)]
    {
        let answer = world.raw("GET", path, &[], b"").await.expect(status);
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{path}");
        assert_eq!(
            answer.header("content-security-policy"),
            Some("default-src 'none'; frame-ancestors 'none'"),
            "{path}"
        );
        assert_eq!(answer.header("referrer-policy"), Some("no-referrer"), "{path}");
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{path}");
        assert_eq!(answer.header("strict-transport-security"), None, "{path}");
        let answer = world.raw("GET", path, &["X-Forwarded-Proto: https"], b"").await;
        assert_eq!(answer.header("strict-transport-security"), Some("max-age=31536000"), "{path}");
    }
    let world = World::start(&[]).await;
    let answer = world.raw("GET", "/health", &["X-Forwarded-Proto: https"], b"").await;
    assert_eq!(answer.header("strict-transport-security"), None, "anybody can say that");
}
