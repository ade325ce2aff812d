//! The crowd of `reconnect` as rows: people who can hold sockets by tokens made here, and the conversations they are in.
//! They have no passwords; nobody can log in as them.

use super::Client;
use crate::reconnect::population::Population;
use anyhow::{Context, Result};
use uuid::Uuid;

/// Rows of one statement.
const AT_ONCE: usize = 20_000;

const USERS: &str = "
INSERT INTO users (id, username, username_key, email, email_key, password_hash, display_name)
SELECT id, name, name, name || '@loadtest.invalid', name || '@loadtest.invalid', '', name
FROM (SELECT id, 'c' || replace(id::text, '-', '') AS name FROM unnest($1::uuid[]) AS t(id)) AS person";
const SESSIONS: &str = "INSERT INTO sessions (id, user_id) SELECT * FROM unnest($1::uuid[], $2::uuid[])";
const CONVERSATIONS: &str = "
INSERT INTO conversations (id, kind, title, created_by, member_count, member_version)
SELECT id, 'group', 'loadtest', $3, members, 1 FROM unnest($1::uuid[], $2::int[]) AS t(id, members)";
const MEMBERS: &str = "INSERT INTO members (conversation_id, user_id) SELECT * FROM unnest($1::uuid[], $2::uuid[])";

/// Puts the crowd there. `herald` is somebody of the server's own accounts, who joins the first `heralded` conversations, to
/// say something there.
pub async fn insert(client: &Client, crowd: &Population, herald: Uuid, heralded: u32) -> Result<()> {
    let people: Vec<u32> = (0..crowd.people).collect();
    for some in people.chunks(AT_ONCE) {
        let users: Vec<Uuid> = some.iter().map(|person| crowd.user(*person)).collect();
        let sessions: Vec<Uuid> = some.iter().map(|person| crowd.session(*person)).collect();
        client.execute(USERS, &[&users]).await.context("inserting users")?;
        client.execute(SESSIONS, &[&sessions, &users]).await.context("inserting sessions")?;
    }
    let conversations: Vec<u32> = (0..crowd.conversations()).collect();
    for some in conversations.chunks(AT_ONCE) {
        let ids: Vec<Uuid> = some.iter().map(|number| crowd.conversation(*number)).collect();
        let count = |number: &u32| (crowd.members(*number) + u32::from(*number < heralded)) as i32;
        let counts: Vec<i32> = some.iter().map(count).collect();
        client.execute(CONVERSATIONS, &[&ids, &counts, &herald]).await.context("inserting conversations")?;
    }
    let ids: Vec<Uuid> = conversations.iter().map(|number| crowd.conversation(*number)).collect();
    let seats = people.iter().flat_map(|person| {
        let user = crowd.user(*person);
        crowd.conversations_of(*person).map(move |number| (number, user))
    });
    // By conversation, as people join: the index fills from left to right.
    let mut seats: Vec<(u32, Uuid)> = seats.chain((0..heralded).map(|number| (number, herald))).collect();
    seats.sort_unstable_by_key(|(number, _)| *number);
    for some in seats.chunks(AT_ONCE) {
        let (places, users): (Vec<Uuid>, Vec<Uuid>) =
            some.iter().map(|(number, user)| (ids[*number as usize], *user)).unzip();
        client.execute(MEMBERS, &[&places, &users]).await.context("inserting members")?;
    }
    client.batch_execute("ANALYZE users, sessions, conversations, members").await.context("analysing the tables")
}
