//! Rooms: a group conversation for each list of members that the state file does not hold yet. The conversation's id
//! is chosen here, so a repeated request makes no second one.

use super::state::{Room, State, User};
use crate::http::{Client, Request, Server};
use crate::report::progress::Progress;
use anyhow::{Context, Result};
use futures_util::future::join_all;
use serde_json::json;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::time::Instant;
use uuid::Uuid;

/// API.md: 100 members added at once.
const ADDED_AT_ONCE: usize = 100;
const CALLERS: usize = 8;

/// The ids of the rooms, in the order wanted. Rooms already made stay in the state even if the rest fails.
pub async fn ensure(
    server: &Server,
    state: &mut State,
    wanted: &[Vec<usize>],
    sources: u8,
    deadline: Instant,
) -> Result<Vec<String>> {
    let mut known = by_members(&state.rooms);
    let missing: Vec<&Vec<usize>> = wanted.iter().filter(|members| take(&mut known, members).is_none()).collect();
    let progress = Progress::new("rooms", missing.len());
    let made = RefCell::new(Vec::new());
    let next = Cell::new(0);
    let callers = (0..CALLERS).map(|caller| {
        let mut client = Client::new(server.clone(), server.source(caller, sources));
        let (missing, made, next, progress, users) = (&missing, &made, &next, &progress, &state.users);
        async move {
            while next.get() < missing.len() {
                let members = missing[next.replace(next.get() + 1)];
                let id = create(&mut client, users, members, deadline).await?;
                made.borrow_mut().push(Room { id, members: members.clone() });
                progress.add(1);
            }
            anyhow::Ok(())
        }
    });
    let outcome: Result<Vec<()>> = join_all(callers).await.into_iter().collect();
    drop(known);
    state.rooms.append(&mut made.into_inner());
    outcome?;
    let mut known = by_members(&state.rooms);
    wanted.iter().map(|members| take(&mut known, members).context("a room was not made")).collect()
}

/// Several rooms may have the same members, where there are few users.
fn by_members(rooms: &[Room]) -> HashMap<&[usize], Vec<&str>> {
    let mut known: HashMap<&[usize], Vec<&str>> = HashMap::new();
    for room in rooms {
        known.entry(&room.members).or_default().push(&room.id);
    }
    known
}

fn take(known: &mut HashMap<&[usize], Vec<&str>>, members: &[usize]) -> Option<String> {
    known.get_mut(members)?.pop().map(str::to_owned)
}

/// Makes the room with its first members, then adds the rest by hundreds.
async fn create(client: &mut Client, users: &[User], members: &[usize], deadline: Instant) -> Result<String> {
    let id = Uuid::now_v7().to_string();
    let token = Some(users[members[0]].access_token.as_str());
    let others: Vec<&str> = members[1..].iter().map(|user| users[*user].id.as_str()).collect();
    let (first, rest) = others.split_at(others.len().min(ADDED_AT_ONCE));
    let body = json!({"id": id, "kind": "group", "title": "loadtest", "member_ids": first});
    let request = Request { method: "POST", path: "/v1/conversations", token, body: Some(body) };
    patiently(client, &request, deadline, "creating a room").await?;
    let path = format!("/v1/conversations/{id}/members");
    for some in rest.chunks(ADDED_AT_ONCE) {
        let request = Request { method: "POST", path: &path, token, body: Some(json!({"user_ids": some})) };
        patiently(client, &request, deadline, "adding members").await?;
    }
    Ok(id)
}

async fn patiently(client: &mut Client, request: &Request<'_>, deadline: Instant, what: &str) -> Result<()> {
    client.call_patiently(request, deadline).await?.expect_status(&[200, 201, 204], what).map(|_| ())
}
