//! Tokens and sessions that are over: thrown away at their hour, by one worker, whole.

use crate::world::World;
use shared::{
    domain::{CleanUp, UserId},
    store::clean_up::Cleaned,
};

/// Sessions of one person, of this age in days, so many ended, each with a token that expires in 30 days from then.
async fn sessions(world: &World, user: UserId, count: i32, days: i32, ended: bool) {
    let sql = "WITH s AS (
            INSERT INTO sessions (id, user_id, created_at, last_used_at, ended_at)
            SELECT gen_random_uuid(), $1, t, t, CASE WHEN $4 THEN t END
            FROM (SELECT clock_timestamp() - make_interval(days => $3) AS t) AS born, generate_series(1, $2)
            RETURNING id, created_at)
        INSERT INTO refresh_tokens (hash, session_id, expires_at)
        SELECT uuid_send(id), id, created_at + interval '30 days' FROM s";
    world.sql.execute(sql, &[&user.0, &count, &days, &ended]).await.expect("sessions");
}

async fn count(world: &World, what: &str) -> i64 {
    world.sql.query_one(&format!("SELECT count(*) FROM {what}"), &[]).await.expect("a count").get(0)
}

async fn make_due(world: &World) {
    let sql = "UPDATE clean_ups SET done_at = clock_timestamp() - interval '8 days'";
    world.sql.execute(sql, &[]).await.expect("earlier");
}

async fn step(world: &World, task: CleanUp) -> Cleaned {
    world.store().clean_up(task).await.expect("an answer")
}

/// All steps of a task; the rows, and how many steps it took.
async fn clean(world: &World, task: CleanUp) -> (u64, usize) {
    let (mut rows, mut steps) = (0, 0);
    loop {
        steps += 1;
        match step(world, task).await {
            Cleaned::Step(some) => rows += some,
            Cleaned::Done(rest) => return (rows + rest, steps),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn what_is_over_goes_and_what_lives_stays() {
    let world = World::create().await;
    let ann = world.user("ann").await;
    let store = world.store();
    assert_eq!(step(&world, CleanUp::ExpiredTokens).await, Cleaned::NotDue, "it has just been made");
    sessions(&world, ann, 3, 29, false).await;
    sessions(&world, ann, 1_500, 31, false).await;
    sessions(&world, ann, 2, 59, true).await;
    sessions(&world, ann, 4, 61, true).await;
    // Where tokens are good for longer, so is a session.
    sessions(&world, ann, 1, 40, false).await;
    let good = "UPDATE refresh_tokens SET expires_at = clock_timestamp() + interval '1 day'
        WHERE session_id = (SELECT id FROM sessions ORDER BY last_used_at LIMIT 1 OFFSET 6)";
    assert_eq!(world.sql.execute(good, &[]).await.expect("a long life"), 1);
    make_due(&world).await;

    assert_eq!(clean(&world, CleanUp::ExpiredTokens).await, (1_506, 2));
    assert_eq!(count(&world, "refresh_tokens").await, 4);
    assert_eq!(count(&world, "sessions").await, 1_510, "the sessions are others' business");
    assert_eq!(step(&world, CleanUp::ExpiredTokens).await, Cleaned::NotDue, "once");

    assert_eq!(clean(&world, CleanUp::IdleSessions).await, (1_500, 2));
    assert_eq!(count(&world, "sessions WHERE ended_at IS NULL").await, 4);
    assert_eq!(count(&world, "sessions WHERE ended_why = 'idle'").await, 1_500);
    let told = "sessions s WHERE ended_why = 'idle' AND EXISTS (SELECT FROM outbox o WHERE position(s.id::text IN o.events::text) > 0)";
    assert_eq!(count(&world, told).await, 1_500, "their sockets are closed");

    assert_eq!(clean(&world, CleanUp::EndedSessions).await, (4, 1));
    assert_eq!(count(&world, "sessions WHERE ended_at IS NOT NULL").await, 1_502);
    let done = store.list_clean_ups().await.expect("when");
    assert_eq!(done.len(), CleanUp::ALL.len());
    assert!(done.iter().all(|(.., is_due)| !is_due), "{done:?}");
}

#[tokio::test]
async fn one_worker_at_a_time() {
    let world = World::create().await;
    let ann = world.user("ann").await;
    sessions(&world, ann, 1, 31, false).await;
    make_due(&world).await;
    // Somebody who has locked the session stands for a step that is under way: it waits for him with the lock in hand.
    world.sql.batch_execute("BEGIN; SELECT 1 FROM users FOR UPDATE").await.expect("a lock");
    let store = world.store().clone();
    let first = tokio::spawn(async move { store.clean_up(CleanUp::IdleSessions).await });
    loop {
        let sql = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND classid = $1::int8::oid
            AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
        let held: i64 = world.sql.query_one(sql, &[&0x636c_6561_i64]).await.expect("locks").get(0);
        if held == 1 {
            break;
        }
    }
    assert_eq!(step(&world, CleanUp::IdleSessions).await, Cleaned::Busy);
    world.sql.batch_execute("COMMIT").await.expect("free");
    assert_eq!(first.await.expect("no panic").expect("an answer"), Cleaned::Done(1));
    assert_eq!(step(&world, CleanUp::IdleSessions).await, Cleaned::NotDue);
}
