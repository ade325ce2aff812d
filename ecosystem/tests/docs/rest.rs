//! docs/rest.md has every endpoint, and none that is not there; its commands are those of docs/socket.md.

use crate::page::{Page, assert_same, names, quoted};
use crate::source;
use std::collections::BTreeSet;

const METHODS: [(&str, &str); 6] =
    [("get(", "GET"), ("post(", "POST"), ("put(", "PUT"), ("patch(", "PATCH"), ("delete(", "DELETE"), ("any(", "GET")];

/// `POST /v1/auth/login`, as the router's table has them.
fn endpoints() -> BTreeSet<String> {
    let text = source::read("gateway/src/rest.rs");
    let (below_v1, beside) = text.split_once(".nest(\"/v1\"").unwrap();
    routes("/v1", below_v1).chain(routes("", beside.split(".fallback(").next().unwrap())).collect()
}

/// What `.route("/messages/{id}", get(messages::get).patch(messages::edit))` answers.
fn routes<'a>(prefix: &'a str, text: &'a str) -> impl Iterator<Item = String> + 'a {
    text.split(".route(").skip(1).flat_map(move |route| {
        let mut parts = route.split('"').skip(1);
        let (path, handlers) = (parts.next().unwrap(), parts.next().unwrap());
        let given = METHODS.into_iter().filter(|(call, _)| handlers.contains(call));
        given.map(move |(_, method)| format!("{method} {prefix}{path}"))
    })
}

#[test]
fn the_endpoints_are_those_of_the_code() {
    let page = Page::read("docs/rest.md");
    assert_same("endpoints", &names(&Page::rows(page.text())), &endpoints());
}

#[test]
fn their_commands_are_those_of_sockets() {
    let page = Page::read("docs/rest.md");
    let rows = Page::rows(page.section("Conversations and messages"));
    let over_rest = rows.iter().map(|row| quoted(&row[1])[0].clone()).collect();
    let socket = Page::read("docs/socket.md");
    // Roles stand in the same section; the rest of these is of sockets alone.
    let of_sockets = names(&Page::rows(socket.section("Commands"))).into_iter().filter(|name| {
        shared::domain::Role::parse(name).is_none()
            && !["hello", "heartbeat", "typing", "presence.watch", "presence.unwatch"].contains(&name.as_str())
    });
    assert_same("commands over REST", &over_rest, &of_sockets.collect());
}
