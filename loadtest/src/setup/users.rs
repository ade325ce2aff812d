//! Accounts: those of the state file get fresh tokens (refresh, or log in again), the missing ones are registered.
//! Several callers work side by side, from one address after the other, and wait when the server asks them to.

use super::state::{State, User};
use crate::http::{Client, Request, Server};
use crate::report::progress::Progress;
use anyhow::{Context, Result};
use futures_util::future::join_all;
use serde_json::{Value, json};
use shared::clock;
use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};
use uuid::Uuid;

/// Callers at once: more than the server's password pool takes only brings refusals.
const CALLERS: usize = 8;
/// Accounts registered from one address before the next one's turn: servers allow an address few a minute.
const ACCOUNTS_PER_SOURCE: usize = 20;
/// Added to the lifetime asked for.
const MARGIN_S: u64 = 30;

/// Fills `state` up to `count` users, the first `count` of them with tokens that live for `lifetime`. What was reached
/// stays in the state even if the rest fails.
pub async fn ensure(
    server: &Server,
    state: &mut State,
    count: usize,
    lifetime: Duration,
    sources: u8,
    deadline: Instant,
) -> Result<()> {
    let needed_until = clock::unix_seconds() + lifetime.as_secs() + MARGIN_S;
    let progress = Progress::new("accounts", count);
    let slots: Vec<RefCell<Option<User>>> =
        (0..count.max(state.users.len())).map(|n| RefCell::new(state.users.get(n).cloned())).collect();
    let run = Uuid::now_v7().simple().to_string();
    let next = Cell::new(0);
    let callers = (0..CALLERS).map(|_| {
        let mut client = Client::new(server.clone(), None);
        let (slots, next, progress, run) = (&slots, &next, &progress, &run);
        async move {
            while next.get() < count {
                let n = next.replace(next.get() + 1);
                client.move_to(server.source(n / ACCOUNTS_PER_SOURCE, sources));
                let known = slots[n].borrow().clone();
                let user = match known {
                    Some(user) if user.access_expires > needed_until => user,
                    Some(user) => renew(&mut client, user, deadline).await?,
                    None => register(&mut client, run, n, deadline).await?,
                };
                slots[n].replace(Some(user));
                progress.add(1);
            }
            anyhow::Ok(())
        }
    });
    let outcomes = join_all(callers).await;
    // Rooms name users by index: the list must stay without gaps.
    state.users = slots.into_iter().map_while(RefCell::into_inner).collect();
    outcomes.into_iter().collect()
}

async fn register(client: &mut Client, run: &str, n: usize, deadline: Instant) -> Result<User> {
    let username = format!("lt{}_{n}", &run[12..24]);
    let password = Uuid::now_v7().simple().to_string();
    let body = json!({"username": username, "email": format!("{username}@loadtest.invalid"), "password": password});
    let request = Request { method: "POST", path: "/v1/auth/register", token: None, body: Some(body) };
    let answer = client.call_patiently(&request, deadline).await?.expect_status(&[201], "registering")?;
    let id = text(&answer["user"], "id")?;
    signed_in(&answer, User { id, username, password, ..User::blank() })
}

/// A fresh access token: by the refresh token, or if that is spent by the password.
async fn renew(client: &mut Client, user: User, deadline: Instant) -> Result<User> {
    let body = json!({"refresh_token": user.refresh_token});
    let request = Request { method: "POST", path: "/v1/auth/refresh", token: None, body: Some(body) };
    let refreshed = client.call_patiently(&request, deadline).await?;
    if refreshed.status == 200 {
        return signed_in(&refreshed.body, user);
    }
    let body = json!({"login": user.username, "password": user.password});
    let request = Request { method: "POST", path: "/v1/auth/login", token: None, body: Some(body) };
    let answer = client.call_patiently(&request, deadline).await?;
    let answer = answer.expect_status(&[200], "logging in a user of the state file (is it of this database?)")?;
    signed_in(&answer, user)
}

fn signed_in(answer: &Value, user: User) -> Result<User> {
    let lifetime = answer["expires_in"].as_u64().context("the server's answer has no expires_in")?;
    Ok(User {
        access_token: text(answer, "access_token")?,
        access_expires: clock::unix_seconds() + lifetime,
        refresh_token: text(answer, "refresh_token")?,
        ..user
    })
}

fn text(answer: &Value, name: &str) -> Result<String> {
    answer[name].as_str().map(str::to_owned).with_context(|| format!("the server's answer has no {name}"))
}

impl User {
    fn blank() -> Self {
        let empty = String::new;
        Self {
            id: empty(),
            username: empty(),
            password: empty(),
            access_token: empty(),
            access_expires: 0,
            refresh_token: empty(),
        }
    }
}
