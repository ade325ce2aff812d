//! docs/socket.md says what the code says: the same commands, events, closes, refusals and limits.

use crate::page::{Page, assert_same, names, quoted};
use crate::source;
use crate::stage::Stage;
use serde_json::{Value, json};
use shared::event::EventName;
use shared::reply::Code;
use std::collections::BTreeSet;

fn page() -> Page {
    Page::read("docs/socket.md")
}

/// The names in the arms of a match: lines like `"message.send" => …`.
fn arms(path: &str) -> BTreeSet<String> {
    let text = source::read(path);
    let code = text.split("#[cfg(test)]").next().unwrap();
    let names = code
        .lines()
        .filter_map(|line| line.trim().strip_prefix('"')?.split_once("\" => "))
        .map(|(name, _)| name.to_owned());
    let names: BTreeSet<String> = names.collect();
    assert!(!names.is_empty(), "{path} has no table of commands any more");
    names
}

#[test]
fn the_commands_are_those_of_the_code() {
    let files = ["gateway/src/requests.rs", "gateway/src/session/native.rs", "gateway/src/session/reads.rs"];
    let code = files.iter().flat_map(|path| arms(path)).collect();
    assert_same(
        "commands",
        &names(&Page::rows(page().section("Commands"))).iter().filter(|name| !is_role(name)).cloned().collect(),
        &code,
    );
}

/// The table of roles stands in the same section.
fn is_role(name: &str) -> bool {
    shared::domain::Role::parse(name).is_some()
}

#[test]
fn every_role_is_explained() {
    let listed = names(&Page::rows(page().section("Commands"))).into_iter().filter(|name| is_role(name)).count();
    assert_eq!(listed, 4);
}

#[test]
fn the_events_are_those_of_the_code() {
    let code = EventName::ALL.iter().map(|name| name.as_str().to_owned()).collect();
    assert_same("events", &names(&Page::rows(page().section("Events"))), &code);
}

#[test]
fn the_refusals_are_those_of_the_code_with_their_status() {
    let rows = Page::rows(page().section("Refusals"));
    let on_page = rows.iter().map(|row| format!("{} {}", quoted(&row[0])[0], row[1])).collect();
    let code = Code::ALL.iter().map(|code| format!("{} {}", code.as_str(), code.status())).collect();
    assert_same("refusals", &on_page, &code);
}

/// Every number in `Close { code: 4000, … }`, wherever the gateway closes.
fn closes() -> BTreeSet<String> {
    let files = source::rust().into_iter().filter(|file| file.path.starts_with("gateway/src/"));
    let numbers = |file: source::Source| {
        let lines: Vec<String> = file.code_without_tests().iter().map(|(_, line)| (*line).to_owned()).collect();
        let digits = |line: &String| Some(line.split_once("Close { code: ")?.1.split(',').next()?.to_owned());
        lines.iter().filter_map(digits).filter(|code| code.parse::<u16>().is_ok()).collect::<Vec<_>>()
    };
    files.flat_map(numbers).collect()
}

#[test]
fn the_closes_are_those_of_the_code_and_rookery_socket_explains_them() {
    let section = page().section("Closes").to_owned();
    let cells = section.lines().filter_map(|line| line.strip_prefix("| ")?.split(' ').next());
    let on_page: BTreeSet<String> = cells.filter(|cell| cell.parse::<u16>().is_ok()).map(str::to_owned).collect();
    assert_same("closes", &on_page, &closes());
    let words = source::read("ecosystem/src/commands/socket/closes.rs");
    let table = words.split("CLOSES:").nth(1).unwrap().split("];").next().unwrap();
    let explained =
        table.lines().filter_map(|line| line.trim().strip_prefix('(')?.split(',').next()).map(str::to_owned);
    assert_same("closes that `rookery socket` explains", &explained.collect(), &closes());
}

#[test]
fn limits_and_objects_are_those_of_a_server() {
    let stage = Stage::new();
    let up = stage.up();
    let ask = |method: &str, path: &str, token: Option<&str>, body: Option<Value>| {
        ecosystem::http::request(&up.address, method, path, token, body.as_ref()).unwrap().json().unwrap()
    };
    assert_limits(&ask("GET", "/v1/limits", None, None));

    let ann = json!({"username": "ann", "email": "ann@example.org", "password": "correct horse staple"});
    let ann = ask("POST", "/v1/auth/register", None, Some(ann));
    let token = ann["access_token"].as_str();
    let group = ask("POST", "/v1/conversations", token, Some(json!({"kind": "group", "title": "Lunch"})));
    let path = format!("/v1/conversations/{}", group["id"].as_str().unwrap());
    let message = ask("POST", &format!("{path}/messages"), token, Some(json!({"body": "hi"})));
    let message = ask("GET", &format!("/v1/messages/{}", message["id"].as_str().unwrap()), token, None);
    let conversation = ask("GET", &path, token, None);
    let member = &conversation["members"][0];
    assert_object("user", &member["user"]);
    assert_object("member", member);
    assert_object("message", &message);
    assert_object("conversation", &conversation);
    assert_object("me", &conversation["me"]);
}

fn assert_limits(said: &Value) {
    let code = said.as_object().unwrap().iter().map(|(name, value)| format!("{name} {value}")).collect();
    let rows = Page::rows(page().section("Limits"));
    let on_page = rows.iter().map(|row| format!("{} {}", quoted(&row[0])[0], row[1].replace(',', ""))).collect();
    assert_same("limits", &on_page, &code);
}

/// The quoted words of an object's row are its fields, and the list of answers that only some of them are in.
fn assert_object(name: &str, object: &Value) {
    const ANSWERS: [&str; 3] = ["get", "list", "sync"];
    let section = page().section("Objects").to_owned();
    let row = section.lines().find(|line| line.starts_with(&format!("| {name} |"))).unwrap();
    let on_page = quoted(row).into_iter().filter(|word| !ANSWERS.contains(&word.as_str())).collect();
    assert_same(name, &on_page, &object.as_object().unwrap().keys().cloned().collect());
}
