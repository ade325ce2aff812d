//! Sessions: which there are, and how they end.

use super::world::{Person, World, app};
use shared::domain::SESSIONS_PER_USER_MAX;
use std::sync::Arc;

#[tokio::test]
async fn ann_sees_her_sessions_and_ends_one() {
    let world = World::start(&[]).await;
    let (first, phone) = (world.register("ann").await, world.login("ann", "phone").await);
    let bob = world.register("bob").await;
    let page = world.get("/v1/auth/sessions", Some(&phone)).await.expect(200).json();
    assert!(page["next"].is_null());
    let items = page["items"].as_array().unwrap();
    assert_eq!(items.len(), 2);
    let mine = items.iter().find(|item| item["current"] == true).unwrap();
    assert_eq!((&mine["device"], &mine["address"]), (&"phone".into(), &"127.0.0.1".into()));
    for field in ["id", "created_at", "last_used_at", "refresh_issued_at", "refresh_expires_at"] {
        assert!(mine[field].is_string(), "{field}");
    }
    let other = items.iter().find(|item| item["current"] == false).unwrap()["id"].as_str().unwrap();
    let path = format!("/v1/auth/sessions/{other}");

    world.call("DELETE", &path, Some(&bob), None).await.expect_problem(404, "not_found");
    assert!(world.is_in(&first).await);
    world.call("DELETE", &path, Some(&phone), None).await.expect(204);
    assert!(!world.is_in(&first).await);
    world.refresh(&first.refresh).await.expect_problem(401, "unauthorized");
    world.call("DELETE", &path, Some(&phone), None).await.expect_problem(404, "not_found");
    world.call("DELETE", "/v1/auth/sessions/nonsense", Some(&phone), None).await.expect_problem(404, "not_found");
    assert_eq!(world.handed_on().await, 1);
    assert_eq!(world.get("/v1/auth/sessions", Some(&phone)).await.json()["items"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_logout_ends_this_session_and_logout_all_every_one() {
    let world = World::start(&[]).await;
    let people = [world.register("ann").await, world.login("ann", "b").await, world.login("ann", "c").await];
    let logout = |path: &'static str, person| world.call("POST", path, Some(person), None);
    logout("/v1/auth/logout", &people[0]).await.expect(204);
    assert!(!world.is_in(&people[0]).await);
    assert!(world.is_in(&people[1]).await);
    logout("/v1/auth/logout", &people[0]).await.expect_problem(401, "unauthorized");
    logout("/v1/auth/logout-all", &people[1]).await.expect(204);
    for person in &people {
        assert!(!world.is_in(person).await);
        world.refresh(&person.refresh).await.expect_problem(401, "unauthorized");
        for path in ["/v1/auth/sessions", "/v1/users"] {
            world.get(path, Some(person)).await.expect_problem(401, "unauthorized");
        }
        world.call("POST", "/v1/auth/ticket", Some(person), None).await.expect_problem(401, "unauthorized");
    }
    assert_eq!(world.handed_on().await, 3);
}

#[tokio::test]
async fn an_ended_session_is_refused_after_a_restart_too() {
    let world = World::start(&[]).await;
    let (ann, bob) = (world.register("ann").await, world.register("bob").await);
    world.call("POST", "/v1/auth/logout", Some(&ann), None).await.expect(204);
    let restarted = app(world.database.config.clone(), world.database.store.clone());
    assert!(restarted.tokens.verify(&ann.access).is_ok(), "not loaded yet");
    restarted.ended.reload(&restarted.store).await.unwrap();
    assert!(restarted.tokens.verify(&ann.access).is_err());
    assert!(restarted.tokens.verify(&bob.access).is_ok());
}

#[tokio::test]
async fn more_sessions_than_a_hundred_end_the_longest_unused() {
    let world = World::start(&[("LIMIT_LOGIN_PER_ACCOUNT", "1000000")]).await;
    let first = world.register("ann").await;
    let world = Arc::new(world);
    for _ in 0..SESSIONS_PER_USER_MAX / 10 {
        let logins = (0..10).map(|_| world.login("ann", ""));
        futures_util::future::join_all(logins).await;
    }
    assert!(!world.is_in(&first).await, "the first had to go for the hundred after it");
    let last = world.login("ann", "").await;
    let page = world.get("/v1/auth/sessions", Some(&last)).await.expect(200).json();
    assert_eq!(page["items"].as_array().unwrap().len(), SESSIONS_PER_USER_MAX);
    assert_eq!(world.handed_on().await, 2);
}

#[tokio::test]
async fn a_ticket_opens_one_door_once() {
    let world = World::start(&[]).await;
    let ann = world.register("ann").await;
    world.raw("POST", "/v1/auth/ticket", &[], b"").await.expect_problem(401, "unauthorized");
    let ticket = world.call("POST", "/v1/auth/ticket", Some(&ann), None).await.expect(200).text_at("/ticket");
    let caller = world.app.tickets.redeem(&ticket).await.unwrap();
    assert_eq!(caller, world.app.tokens.verify(&ann.access).unwrap());
    assert!(world.app.tickets.redeem(&ticket).await.is_err());
    let as_access = Person { access: ticket, ..ann };
    assert!(!world.is_in(&as_access).await, "a ticket is no access token");
}
