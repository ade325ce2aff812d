//! Registering and logging in.

use super::world::{PASSWORD, Person, World};
use serde_json::json;

#[tokio::test]
async fn ann_registers_and_is_known() {
    let world = World::start(&[]).await;
    let body = json!({
        "username": "Ann.B-c_9", "email": "Ann@Example.org", "password": PASSWORD, "display_name": " Ann B. ", "device": "phone",
    });
    let answer = world.post("/v1/auth/register", None, body).await.expect(201);
    let given = answer.json();
    assert_eq!(given["expires_in"], 3600);
    let user = given["user"].as_object().unwrap();
    let keys: Vec<_> = user.keys().map(String::as_str).collect();
    assert_eq!(
        keys,
        ["avatar", "bio", "created_at", "display_name", "id", "username", "verified"],
        "no more than anybody may see"
    );
    assert_eq!(user["username"], "Ann.B-c_9");
    assert_eq!(user["display_name"], "Ann B.");
    assert!(user["created_at"].as_str().unwrap().ends_with('Z'));

    let ann = Person::of(&answer);
    let me = world.get("/v1/auth/me", Some(&ann)).await.expect(200).json();
    assert_eq!(me["email"], "Ann@Example.org");
    assert_eq!(me["id"], ann.id.as_str());
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    for name in ["ann.b-C_9", "ann@example.ORG"] {
        for field in ["login", "username", "email"] {
            let again =
                world.post("/v1/auth/login", None, json!({field: name, "password": PASSWORD})).await.expect(200);
            assert_eq!(Person::of(&again).id, ann.id);
        }
    }
}

#[tokio::test]
async fn a_taken_name_or_address_is_named() {
    let world = World::start(&[]).await;
    world.register("ann").await;
    let hashes = world.app.passwords.computed();
    let body = |name: &str, email: &str| json!({"username": name, "email": email, "password": PASSWORD});
    for (name, email, field) in [
        ("ANN", "other@example.org", "username"),
        ("other", "Ann@Example.org", "email"),
        ("Ann", "ann@example.org", "username"),
    ] {
        let answer = world.post("/v1/auth/register", None, body(name, email)).await.expect_problem(409, "conflict");
        assert_eq!(answer.json()["fields"], json!({field: "is taken already"}));
    }
    assert_eq!(world.app.passwords.computed(), hashes, "nothing is hashed for what cannot be");
}

#[tokio::test]
async fn two_who_take_one_name_at_once_do_not_both_get_it() {
    let world = World::start(&[("HASH_THREADS", "4")]).await;
    let register = |n: usize| {
        let email = format!("ann{n}@example.org");
        world.post("/v1/auth/register", None, json!({"username": "ann", "email": email, "password": PASSWORD}))
    };
    let answers = futures_util::future::join_all((0..6).map(register)).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 201).count(), 1);
    for answer in answers.into_iter().filter(|answer| answer.status != 201) {
        let problem = answer.expect_problem(409, "conflict");
        assert_eq!(problem.json()["fields"], json!({"username": "is taken already"}));
    }
}

#[tokio::test]
async fn each_limit_of_an_account_is_reached() {
    let world = World::start(&[]).await;
    let good = json!({"username": "ann", "email": "ann@example.org", "password": PASSWORD, "display_name": "Ann", "device": "phone"});
    let with = |field: &str, value: String| {
        let mut body = good.clone();
        body[field] = value.into();
        world.post("/v1/auth/register", None, body)
    };
    let long = |part: &str, count: usize| part.repeat(count);
    for (field, values) in [
        ("username", vec!["an".into(), long("a", 33), "a n".into(), "änn".into(), "".into(), "ann@b".into()]),
        (
            "email",
            vec!["ann".into(), format!("ann@{}.org", long("x", 250)), "a b@example.org".into(), "ann@org".into()],
        ),
        (
            "password",
            vec![
                "1234567".into(),
                long("x", 1025),
                "password123".into(),
                "Ann@example.org".into(),
                "aaaaaaaaaa".into(),
            ],
        ),
        ("display_name", vec!["  ".into(), long("ä", 65), "a\u{7}b".into()]),
        ("device", vec![long("ä", 129), "a\nb".into()]),
    ] {
        for value in values {
            with(field, value).await.expect_invalid(field);
        }
    }
    let longest = format!("{}@{}.org", long("x", 64), long("y", 185));
    assert_eq!(longest.len(), 254);
    let body = json!({
        "username": long("a", 32), "email": longest, "password": long("xy", 512), "display_name": long("ä", 64), "device": long("ä", 128),
    });
    world.post("/v1/auth/register", None, body).await.expect(201);
    let body = json!({"username": "abc", "email": "a@b.c", "password": "12ä4567"});
    world.post("/v1/auth/register", None, body).await.expect(201);
}

#[tokio::test]
async fn a_request_of_another_shape_names_the_field() {
    let world = World::start(&[]).await;
    let register = |body| world.post("/v1/auth/register", None, body);
    register(json!({})).await.expect_invalid("username");
    register(json!({"username": "ann", "email": "ann@example.org"})).await.expect_invalid("password");
    register(json!({"username": 7, "email": "ann@example.org", "password": PASSWORD})).await.expect_invalid("username");
    for forged in ["role", "is_admin", "verified", "id", "created_at", "password_hash"] {
        let body = json!({"username": "ann", "email": "ann@example.org", "password": PASSWORD, forged: true});
        register(body).await.expect_invalid(forged);
    }
    register(json!([])).await.expect(400);
    let ann = world.register("ann").await;
    for (method, path, body) in [
        ("POST", "/v1/auth/login", json!({"login": "ann", "password": PASSWORD, "sudo": 1})),
        ("POST", "/v1/auth/refresh", json!({"refresh_token": ann.refresh, "sudo": 1})),
        ("PUT", "/v1/auth/password", json!({"current": PASSWORD, "new": "another password", "sudo": 1})),
    ] {
        world.call(method, path, Some(&ann), Some(body)).await.expect_invalid("sudo");
    }
}
