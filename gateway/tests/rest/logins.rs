//! Logging in as an attacker would, and changing a password.

use super::world::{PASSWORD, World};
use serde_json::json;
use std::sync::Arc;

#[tokio::test]
async fn a_wrong_name_and_a_wrong_password_are_one_answer_and_one_work() {
    let world = World::start(&[("LIMIT_LOGIN_PER_ACCOUNT", "1000")]).await;
    world.register("ann").await;
    let mut answers = vec![];
    for body in [
        json!({"login": "ann", "password": "wrong horse battery"}),
        json!({"login": "nobody", "password": "wrong horse battery"}),
        json!({"login": "nobody", "password": PASSWORD}),
        json!({"email": "ann@example.org", "password": "wrong horse battery"}),
        json!({"email": "nobody@example.org", "password": PASSWORD}),
        json!({"login": "%", "password": PASSWORD}),
    ] {
        let before = world.app.passwords.computed();
        let mut answer = world.post("/v1/auth/login", None, body).await.expect_problem(401, "wrong_credentials");
        assert_eq!(world.app.passwords.computed(), before + 1, "each costs one hash");
        answer.headers.retain(|(name, _)| !matches!(name.as_str(), "x-request-id" | "date"));
        answers.push((answer.headers, answer.text));
    }
    assert!(answers.windows(2).all(|pair| pair[0] == pair[1]), "{answers:#?}");
}

#[tokio::test]
async fn what_cannot_be_a_login_costs_no_hash() {
    let world = World::start(&[]).await;
    let ann = world.register("ann").await;
    let before = world.app.passwords.computed();
    let login = |body| world.post("/v1/auth/login", None, body);
    login(json!({"password": PASSWORD})).await.expect_invalid("login");
    login(json!({"login": "", "password": PASSWORD})).await.expect_invalid("login");
    login(json!({"login": "ann", "email": "ann@example.org", "password": PASSWORD})).await.expect_invalid("login");
    login(json!({"login": "x".repeat(255), "password": PASSWORD})).await.expect_invalid("login");
    login(json!({"login": "ann", "password": ""})).await.expect_invalid("password");
    login(json!({"login": "ann", "password": "x".repeat(1025)})).await.expect_invalid("password");
    login(json!({"login": "ann", "password": "x".repeat(1_000_000)})).await.expect_invalid("password");
    login(json!({"login": "ann", "password": PASSWORD, "device": "x".repeat(129)})).await.expect_invalid("device");
    login(json!({"login": "ann", "password": format!("{PASSWORD}\0")})).await.expect_problem(400, "malformed");
    let change = |body| world.call("PUT", "/v1/auth/password", Some(&ann), Some(body));
    change(json!({"current": "x".repeat(1025), "new": "another password"})).await.expect_invalid("current");
    change(json!({"current": PASSWORD, "new": "short"})).await.expect_invalid("new");
    change(json!({"current": PASSWORD, "new": "ann@example.org"})).await.expect_invalid("new");
    assert_eq!(world.app.passwords.computed(), before);
}

#[tokio::test]
async fn a_changed_password_ends_every_other_session() {
    let world = World::start(&[]).await;
    let first = world.register("ann").await;
    let (phone, laptop) = (world.login("ann", "phone").await, world.login("ann", "laptop").await);
    let change = |current: &str, new: &str| {
        world.call("PUT", "/v1/auth/password", Some(&phone), Some(json!({"current": current, "new": new})))
    };
    change("wrong horse battery", "another password").await.expect_problem(401, "wrong_credentials");
    assert!(world.is_in(&laptop).await);
    change(PASSWORD, "another password").await.expect(204);
    assert!(world.is_in(&phone).await);
    for gone in [&first, &laptop] {
        assert!(!world.is_in(gone).await);
        world.refresh(&gone.refresh).await.expect_problem(401, "unauthorized");
    }
    assert_eq!(world.handed_on().await, 2);
    let login = |password: &str| world.post("/v1/auth/login", None, json!({"login": "ann", "password": password}));
    login(PASSWORD).await.expect_problem(401, "wrong_credentials");
    login("another password").await.expect(200);
    world.refresh(&phone.refresh).await.expect(200);
}

#[tokio::test]
async fn more_logins_than_the_hash_pool_holds_are_told_to_come_back() {
    let world =
        World::start(&[("HASH_THREADS", "1"), ("HASH_QUEUE", "0"), ("LIMIT_LOGIN_PER_ACCOUNT", "1000000")]).await;
    world.register("ann").await;
    let world = Arc::new(world);
    let stop = tokio_util::sync::CancellationToken::new();
    // Some of eight at once must find the one place taken; how many of them is the machine's affair.
    let attempts = (0..8).map(|_| async {
        while !stop.is_cancelled() {
            let answer = world.post("/v1/auth/login", None, json!({"login": "ann", "password": PASSWORD})).await;
            if answer.status != 200 {
                let problem = answer.expect_problem(503, "overloaded");
                assert_eq!(problem.header("retry-after"), Some("1"));
                stop.cancel();
            }
        }
    });
    tokio::time::timeout(super::world::PATIENCE, futures_util::future::join_all(attempts)).await.expect("a refusal");
    world.login("ann", "").await;
}

#[tokio::test]
async fn logins_are_limited_per_account_and_per_address() {
    let world = World::start(&[("LIMIT_LOGIN_PER_ACCOUNT", "3")]).await;
    world.register("ann").await;
    world.register("bob").await;
    for _ in 0..3 {
        let body = json!({"login": "ann", "password": "wrong horse battery"});
        world.post("/v1/auth/login", None, body).await.expect_problem(401, "wrong_credentials");
    }
    let before = world.app.passwords.computed();
    let body = json!({"login": "Ann", "password": PASSWORD});
    let problem = world.post("/v1/auth/login", None, body).await.expect_problem(429, "rate_limited");
    let seconds: u32 = problem.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=20).contains(&seconds), "{seconds}");
    assert_eq!(world.app.passwords.computed(), before);
    world.login("bob", "").await;

    let world = World::start(&[("LIMIT_LOGIN_PER_ADDRESS", "3")]).await;
    for n in 0..3 {
        let body = json!({"login": format!("nobody{n}"), "password": PASSWORD});
        world.post("/v1/auth/login", None, body).await.expect(401);
    }
    let body = json!({"login": "nobody", "password": PASSWORD});
    world.post("/v1/auth/login", None, body).await.expect_problem(429, "rate_limited");
}
