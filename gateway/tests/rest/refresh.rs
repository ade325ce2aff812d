//! Refresh tokens: rotation, the grace, and what becomes of a stolen one.

use super::world::{PASSWORD, Person, World};
use serde_json::json;
use shared::{domain::REFRESH_GRACE, store::testing::age_refresh_tokens};
use std::time::Duration;

#[tokio::test]
async fn a_token_gives_way_to_its_successor() {
    let world = World::start(&[]).await;
    let ann = world.register("ann").await;
    let mut token = ann.refresh.clone();
    for _ in 0..3 {
        let answer = world.refresh(&token).await.expect(200);
        let json = answer.json();
        let mut keys: Vec<_> = json.as_object().unwrap().keys().collect();
        keys.sort();
        assert_eq!(keys, ["access_token", "expires_in", "refresh_token"]);
        assert_ne!(answer.text_at("/refresh_token"), token);
        token = answer.text_at("/refresh_token");
        let access = answer.text_at("/access_token");
        assert!(world.is_in(&Person { access, ..ann.clone() }).await);
    }
    assert_eq!(world.get("/v1/auth/sessions", Some(&ann)).await.json()["items"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn fifty_at_once_have_one_successor() {
    let world = World::start(&[]).await;
    let ann = world.register("ann").await;
    let answers = futures_util::future::join_all((0..50).map(|_| world.refresh(&ann.refresh))).await;
    let tokens: Vec<String> = answers.into_iter().map(|answer| answer.expect(200).text_at("/refresh_token")).collect();
    assert!(tokens.windows(2).all(|pair| pair[0] == pair[1]), "{tokens:?}");
    world.refresh(&tokens[0]).await.expect(200);
    assert_eq!(world.handed_on().await, 0);
}

#[tokio::test]
async fn within_the_grace_an_old_token_gives_the_same_successor_and_after_it_ends_the_session() {
    let world = World::start(&[]).await;
    let (ann, other) = (world.register("ann").await, world.login("ann", "laptop").await);
    let first = world.refresh(&ann.refresh).await.expect(200).text_at("/refresh_token");
    age_refresh_tokens(&world.database.store, REFRESH_GRACE - Duration::from_secs(5)).await.unwrap();
    assert_eq!(world.refresh(&ann.refresh).await.expect(200).text_at("/refresh_token"), first);
    age_refresh_tokens(&world.database.store, Duration::from_secs(6)).await.unwrap();

    world.refresh(&ann.refresh).await.expect_problem(401, "unauthorized");
    assert!(!world.is_in(&ann).await, "the access token is refused at once");
    world.refresh(&first).await.expect_problem(401, "unauthorized");
    assert_eq!(world.handed_on().await, 1, "and its sockets close on every gateway");
    assert!(world.is_in(&other).await, "another login is another family");
    world.refresh(&other.refresh).await.expect(200);
}

#[tokio::test]
async fn another_device_ends_the_session() {
    let world = World::start(&[]).await;
    world.register("ann").await;
    let phone = world.login("ann", "phone").await;
    let refresh = |token: &str, device: &str| {
        world.post("/v1/auth/refresh", None, json!({"refresh_token": token, "device": device}))
    };
    let second = refresh(&phone.refresh, "phone").await.expect(200).text_at("/refresh_token");
    let third = world.refresh(&second).await.expect(200).text_at("/refresh_token");
    refresh(&third, "laptop").await.expect_problem(401, "unauthorized");
    assert!(!world.is_in(&phone).await);
    refresh(&third, "phone").await.expect_problem(401, "unauthorized");
    assert_eq!(world.handed_on().await, 1);
    let nameless = world.login("ann", "").await;
    refresh(&nameless.refresh, "anything").await.expect(200);
}

#[tokio::test]
async fn what_is_no_token_of_ours_is_refused_alike() {
    let world = World::start(&[]).await;
    let ann = world.register("ann").await;
    let unused = "A".repeat(43);
    let mut texts = vec![];
    for bad in ["", "x", &unused, &ann.access, &"x".repeat(100_000), &format!("{} ", ann.refresh), "ä"] {
        texts.push(world.refresh(bad).await.expect_problem(401, "unauthorized").text);
    }
    texts.push(world.post("/v1/auth/refresh", None, json!({})).await.expect_problem(401, "unauthorized").text);
    texts.push(world.raw("POST", "/v1/auth/refresh", &[], b"").await.expect_problem(401, "unauthorized").text);
    assert!(texts.windows(2).all(|pair| pair[0] == pair[1]), "{texts:?}");
    let as_access = Person { access: ann.refresh.clone(), ..ann.clone() };
    assert!(!world.is_in(&as_access).await, "a refresh token is no access token");
    assert!(world.is_in(&ann).await);
}

#[tokio::test]
async fn a_token_that_was_not_used_in_its_life_is_over() {
    let world = World::start(&[("REFRESH_EXPIRES_IN", "1h")]).await;
    let ann = world.register("ann").await;
    age_refresh_tokens(&world.database.store, Duration::from_secs(3595)).await.unwrap();
    let next = world.refresh(&ann.refresh).await.expect(200).text_at("/refresh_token");
    age_refresh_tokens(&world.database.store, Duration::from_secs(3601)).await.unwrap();
    world.refresh(&next).await.expect_problem(401, "unauthorized");
    assert_eq!(world.handed_on().await, 0, "late is not stolen");
    world.post("/v1/auth/login", None, json!({"login": "ann", "password": PASSWORD})).await.expect(200);
}

#[tokio::test]
async fn a_refresh_that_races_a_logout_leaves_nothing_alive() {
    let world = World::start(&[]).await;
    world.register("ann").await;
    for _ in 0..10 {
        let ann = world.login("ann", "").await;
        let (refreshed, logged_out) =
            tokio::join!(world.refresh(&ann.refresh), world.call("POST", "/v1/auth/logout", Some(&ann), None),);
        logged_out.expect(204);
        if refreshed.status == 200 {
            let late = Person {
                access: refreshed.text_at("/access_token"),
                refresh: refreshed.text_at("/refresh_token"),
                ..ann
            };
            assert!(!world.is_in(&late).await);
            world.refresh(&late.refresh).await.expect_problem(401, "unauthorized");
        } else {
            refreshed.expect_problem(401, "unauthorized");
        }
    }
}

#[tokio::test]
async fn refreshes_are_limited_per_address() {
    let world = World::start(&[("LIMIT_REFRESH_PER_ADDRESS", "2")]).await;
    let ann = world.register("ann").await;
    for _ in 0..2 {
        world.refresh(&ann.refresh).await.expect(200);
    }
    world.refresh(&ann.refresh).await.expect_problem(429, "rate_limited");
}
