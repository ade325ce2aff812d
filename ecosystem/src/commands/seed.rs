//! `rookery seed`: a small demo world, made through the public interface like anybody else's. Ids are derived from what
//! they stand for, so that doing it again finds everything there.

use super::{data_dir, running};
use crate::cli;
use crate::config::Surroundings;
use crate::http::{Answer, request};
use crate::say;
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::process::ExitCode;
use uuid::Uuid;

/// Known to everybody who reads this: for trying things out only.
const PASSWORD: &str = "correct horse rookery staple";

/// The beginning of 2026: when the demo world says it was made.
const MADE_MS: u64 = 1_767_225_600_000;

const PEOPLE: [(&str, &str); 4] =
    [("ada", "Ada Lovelace"), ("grace", "Grace Hopper"), ("alan", "Alan Turing"), ("edith", "Edith Clarke")];

/// Title (none for two people), members with the first as its maker, and who says what.
type Room = (Option<&'static str>, &'static [&'static str], &'static [(&'static str, &'static str)]);

const ROOMS: [Room; 3] = [
    (
        None,
        &["ada", "grace"],
        &[
            ("ada", "Are you there?"),
            ("grace", "I am. The compiler is done."),
            ("ada", "Then let it find its own errors."),
        ],
    ),
    (
        Some("Engine room"),
        &["ada", "grace", "alan", "edith"],
        &[
            ("ada", "Welcome. This is where we talk about the engine."),
            ("alan", "Does it halt?"),
            ("edith", "Only when I draw the graph wrong."),
            ("grace", "I found the reason: a moth, in relay 70."),
            ("ada", "Please keep it. Somebody will want to see it."),
        ],
    ),
    (Some("Lunch"), &["edith", "alan"], &[("edith", "Half past twelve?"), ("alan", "An apple will do for me.")]),
];

struct Person {
    id: String,
    token: String,
}

pub fn run(place: &cli::Place, surroundings: &Surroundings) -> Result<ExitCode> {
    let (_, base) = running(&data_dir(place, surroundings))?;
    let mut people = BTreeMap::new();
    for (username, display_name) in PEOPLE {
        people.insert(username, enter(&base, username, display_name)?);
    }
    for room in ROOMS {
        furnish(&base, &people, room)?;
    }
    say::line(format!("{} people, {} conversations. Every password is: {PASSWORD}", PEOPLE.len(), ROOMS.len()));
    say::table(&PEOPLE.map(|(username, name)| vec![format!("  {username}"), name.to_owned()]));
    Ok(ExitCode::SUCCESS)
}

/// Registers a person, or signs in who is there.
fn enter(base: &str, username: &str, display_name: &str) -> Result<Person> {
    let email = format!("{username}@example.org");
    let body = json!({"username": username, "email": email, "password": PASSWORD, "display_name": display_name});
    let mut answer = request(base, "POST", "/v1/auth/register", None, Some(&body))?;
    if answer.status == 409 {
        let body = json!({"login": username, "password": PASSWORD});
        answer = request(base, "POST", "/v1/auth/login", None, Some(&body))?;
    }
    let answer = good(answer, username)?;
    let text = |pointer: &str| answer.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    let (id, token) = text("/user/id").zip(text("/access_token")).context("the answer names no user and token")?;
    Ok(Person { id, token })
}

fn furnish(base: &str, people: &BTreeMap<&str, Person>, (title, members, lines): Room) -> Result<()> {
    let maker = &people[members[0]];
    let member_ids: Vec<&str> = members[1..].iter().map(|name| people[name].id.as_str()).collect();
    let body = match title {
        Some(title) => {
            json!({"id": derived(&[&maker.id, title]), "kind": "group", "title": title, "member_ids": member_ids})
        }
        None => json!({"kind": "direct", "member_ids": member_ids}),
    };
    let what = title.unwrap_or("a direct conversation");
    let room = good(request(base, "POST", "/v1/conversations", Some(&maker.token), Some(&body))?, what)?;
    let room = room["id"].as_str().context("the answer names no conversation")?;
    for (number, (sender, text)) in lines.iter().enumerate() {
        let body = json!({"id": derived(&[room, &number.to_string()]), "body": text});
        let path = format!("/v1/conversations/{room}/messages");
        good(request(base, "POST", &path, Some(&people[sender].token), Some(&body))?, what)?;
    }
    Ok(())
}

/// Asking again for what is there is answered as if it had just been made.
fn good(answer: Answer, what: &str) -> Result<Value> {
    if !answer.is_ok() {
        let problem = answer.json().unwrap_or_default();
        bail!("{what}: {} {}", answer.status, problem["detail"].as_str().unwrap_or(answer.body.trim()));
    }
    answer.json()
}

/// A UUIDv7, as ids have to be, of a moment that never changes, with SHA-256 of the parts in place of its random bits.
fn derived(parts: &[&str]) -> Uuid {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, parts.join("\0").as_bytes());
    let mut random = [0; 10];
    random.copy_from_slice(&digest.as_ref()[..10]);
    uuid::Builder::from_unix_timestamp_millis(MADE_MS, &random).into_uuid()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_in_a_room_is_a_person_and_everybody_who_speaks_is_in_the_room() {
        for (_, members, lines) in ROOMS {
            assert!(members.iter().all(|member| PEOPLE.iter().any(|(name, _)| name == member)));
            assert!(lines.iter().all(|(sender, _)| members.contains(sender)));
        }
    }

    #[test]
    fn an_id_depends_on_every_part_and_on_nothing_else() {
        assert_eq!(derived(&["a", "b"]), derived(&["a", "b"]));
        assert_ne!(derived(&["a", "b"]), derived(&["ab", ""]));
    }
}
