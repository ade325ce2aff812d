//! docs/socket.md says what the code says: the same commands, events, closes, refusals and limits.

use crate::page::{Page, assert_same, names, quoted};
use crate::source;
use crate::stage::Stage;
use serde_json::{Value, json};
use shared::event::EventName;
use shared::reply::Code;
use std::collections::BTreeSet;
use std::io::Write;
use std::process::Stdio;

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

/// What `rookery socket` ends with, prints and complains of.
fn talk(stage: &Stage, arguments: &[&str], password: &str, lines: &str) -> (bool, String, String) {
    let mut command = stage.rookery(&[&["socket", "--data-dir", "data"], arguments].concat());
    let command = command.env("ROOKERY_PASSWORD", password).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut talk = command.stderr(Stdio::piped()).spawn().unwrap();
    // One that was refused at once does not read any more.
    let _ = talk.stdin.take().unwrap().write_all(lines.as_bytes());
    let ended = talk.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (ended.status.success(), text(ended.stdout), text(ended.stderr))
}

#[test]
fn rookery_socket_ends_when_all_is_answered_and_says_why_it_was_refused() {
    let stage = Stage::new();
    let up = stage.up();
    let password = "correct horse staple";
    let ann = json!({"username": "ann", "email": "ann@example.org", "password": password});
    let ann = ecosystem::http::request(&up.address, "POST", "/v1/auth/register", None, Some(&ann)).unwrap();
    let token = ann.json().unwrap()["access_token"].as_str().unwrap().to_owned();

    let lines = "conversation.list\n{\"id\":40,\"cmd\":\"sync\"}\nconversation.list";
    let (well, frames, words) = talk(&stage, &["--login", "ann"], password, lines);
    assert!(well && words.is_empty(), "{words}");
    assert!([1, 2, 40, 41].iter().all(|re| frames.contains(&format!("{{\"re\":{re},\"ok\":"))), "{frames}");
    // The session that it began is over; the one of the registration is not.
    let sessions = ecosystem::http::request(&up.address, "GET", "/v1/auth/sessions", Some(&token), None).unwrap();
    assert_eq!(sessions.body.matches("\"device\"").count(), 1, "{}", sessions.body);

    let (well, frames, words) = talk(&stage, &["--token", &token], "", "nonsense\nmessage.send oops\n");
    assert!(!well && frames.contains("\"re\":2,\"error\"") && words.contains("not sent"), "{frames}{words}");
    let refused = |arguments: &[&str], password: &str, why: &str| {
        let (well, _, words) = talk(&stage, arguments, password, "conversation.list\n");
        assert!(!well && words.contains(why) && words.lines().count() == 1, "{words}");
    };
    refused(&["--token", "x"], "", "closed with 4401 (token): ");
    let (well, frames, _) = talk(&stage, &[], "", "conversation.list\n");
    assert!(!well && frames.contains("unauthorized"), "nobody says anything before hello: {frames}");
    refused(&["--login", "ann"], "wrong", "ann was not let in: 401 name and password do not belong together");
    let ticket = format!("{}/v1/ws?ticket=x", up.address.replacen("http", "ws", 1));
    refused(&["--url", &ticket], "", "refused with 401: the ticket is not valid, or was used");
    refused(&["--url", "ws://127.0.0.1:1"], "", "cannot reach ws://127.0.0.1:1/v1/ws");
    refused(&["--url", "wss://example.org"], "", "ws:// only");
}
