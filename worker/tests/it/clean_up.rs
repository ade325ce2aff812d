//! Tokens and sessions that are over, with several workers: one of them cleans up, whatever the hour it begins at, and the
//! sockets of those who were idle are closed.

use crate::world::{World, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_did_at_its_hour_is_done_by_whoever_comes() {
    let world = World::start(1).await;
    let ann = world.person().await;
    let sql = "WITH s AS (INSERT INTO sessions (id, user_id, last_used_at) SELECT gen_random_uuid(), $1, t
             FROM (VALUES (clock_timestamp()), (clock_timestamp() - interval '31 days')) AS used(t) RETURNING id, last_used_at)
         INSERT INTO refresh_tokens (hash, session_id, expires_at)
         SELECT uuid_send(id), id, last_used_at + interval '30 days' FROM s";
    world.run(sql, &[&ann.0]).await;
    world.run("UPDATE clean_ups SET done_at = clock_timestamp() - interval '8 days'", &[]).await;
    let _workers = (world.worker().await, world.worker().await);
    until("everything is cleaned up", async || {
        let sql = "SELECT count(*) FROM clean_ups WHERE done_at < clock_timestamp() - interval '1 hour'";
        world.number(sql, &[]).await == 0
    })
    .await;
    assert_eq!(world.number("SELECT count(*) FROM refresh_tokens", &[]).await, 1);
    assert_eq!(world.number("SELECT count(*) FROM sessions WHERE ended_why = 'idle'", &[]).await, 1);
    assert_eq!(world.number("SELECT count(*) FROM sessions WHERE ended_at IS NULL", &[]).await, 1);
    until("it is handed on", async || world.outbox_rows().await == 0).await;
}
