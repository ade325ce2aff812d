//! Finding people.

use super::world::{Person, World};
use serde_json::{Value, json};

fn names(page: &Value) -> Vec<&str> {
    let items = page["items"].as_array().expect("items");
    items.iter().map(|user| user["username"].as_str().expect("a username")).collect()
}

async fn register(world: &World, username: &str, display_name: &str, email: &str) -> Person {
    let body = json!({"username": username, "display_name": display_name, "email": email, "password": "correct horse battery"});
    Person::of(&world.post("/v1/auth/register", None, body).await.expect(201))
}

#[tokio::test]
async fn people_are_found_by_the_beginning_of_name_display_name_or_email() {
    let world = World::start(&[]).await;
    let ann = register(&world, "ann", "Zoë", "first@example.org").await;
    register(&world, "Annabel", "B", "second@example.org").await;
    register(&world, "bob_x", "Anna Nym", "third@example.net").await;
    register(&world, "bobbx", "100%", "fourth@example.net").await;
    let find = |query: &'static str| {
        let (world, ann) = (&world, &ann);
        async move { world.get(&format!("/v1/users?q={query}"), Some(ann)).await.expect(200).json() }
    };
    assert_eq!(names(&find("ann").await), ["ann", "Annabel", "bob_x"]);
    assert_eq!(names(&find("ANNA").await), ["Annabel", "bob_x"]);
    assert_eq!(names(&find("zo%C3%AB").await), ["ann"]);
    assert_eq!(names(&find("third@").await), ["bob_x"]);
    assert_eq!(names(&find("bob_").await), ["bob_x"], "an underscore is an underscore");
    assert_eq!(names(&find("100%25").await), ["bobbx"]);
    assert_eq!(names(&find("%25").await), Vec::<&str>::new());
    assert_eq!(names(&find("nobody").await), Vec::<&str>::new());
    let page = find("").await;
    assert_eq!(names(&page), ["ann", "Annabel", "bob_x", "bobbx"]);
    for user in page["items"].as_array().unwrap() {
        assert!(user.get("email").is_none() && user.get("password_hash").is_none(), "{user}");
    }
}

#[tokio::test]
async fn pages_go_on_where_the_last_one_ended() {
    let world = World::start(&[]).await;
    let mut people = vec![];
    for n in 0..5 {
        people.push(world.register(&format!("user{n}")).await);
    }
    let mut seen: Vec<String> = vec![];
    let mut path = "/v1/users?q=user&limit=2".to_owned();
    loop {
        let page = world.get(&path, Some(&people[0])).await.expect(200).json();
        seen.extend(names(&page).into_iter().map(str::to_owned));
        match page["next"].as_str() {
            Some(cursor) => path = format!("/v1/users?q=user&limit=2&cursor={cursor}"),
            None => break,
        }
    }
    assert_eq!(seen, ["user0", "user1", "user2", "user3", "user4"]);
    let page = world.get("/v1/users?limit=5", Some(&people[0])).await.expect(200).json();
    assert!(page["next"].is_null(), "a page that holds all has no next");
}

#[tokio::test]
async fn one_or_many_by_id() {
    let world = World::start(&[]).await;
    let (ann, bob) = (world.register("ann").await, world.register("bob").await);
    let user = world.get(&format!("/v1/users/{}", bob.id), Some(&ann)).await.expect(200).json();
    assert_eq!(user["username"], "bob");
    assert!(user.get("email").is_none());
    let stranger = shared::domain::UserId::new();
    for path in [format!("/v1/users/{stranger}"), "/v1/users/nonsense".into(), "/v1/users/%00".into()] {
        world.get(&path, Some(&ann)).await.expect_problem(404, "not_found");
    }
    let path = format!("/v1/users?ids={},{stranger},{}", bob.id, ann.id);
    assert_eq!(names(&world.get(&path, Some(&ann)).await.expect(200).json()), ["bob", "ann"]);
}

#[tokio::test]
async fn each_limit_of_a_search_is_reached() {
    let world = World::start(&[]).await;
    let ann = world.register("ann").await;
    let many = vec![ann.id.as_str(); 101].join(",");
    for (query, field) in [
        (format!("ids={many}"), "ids"),
        ("ids=nonsense".into(), "ids"),
        ("limit=0".into(), "limit"),
        ("limit=101".into(), "limit"),
        ("limit=ten".into(), "limit"),
        (format!("q={}", "x".repeat(255)), "q"),
        ("q=%00".into(), "q"),
        ("cursor=!".into(), "cursor"),
        ("cursor=_w".into(), "cursor"),
        ("order=name".into(), "order"),
    ] {
        world.get(&format!("/v1/users?{query}"), Some(&ann)).await.expect_invalid(field);
    }
    let path = format!("/v1/users?ids={}", vec![ann.id.as_str(); 100].join(","));
    world.get(&path, Some(&ann)).await.expect(200);
    world.get("/v1/users?limit=100", Some(&ann)).await.expect(200);
    world.get("/v1/users", None).await.expect_problem(401, "unauthorized");
}
