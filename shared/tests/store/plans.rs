//! Which way PostgreSQL takes: by the index, also in a conversation of a hundred thousand messages, and with the plan
//! that it keeps for any parameters.

use crate::world::World;
use serde_json::Value;
use shared::{
    domain::{ConversationId, UserId},
    store::{conversations, messages, sync},
};
use tokio_postgres::types::ToSql;

/// Nodes of a plan that read a table: how, which, how many rows they came by.
#[derive(Debug)]
struct Read {
    how: String,
    table: String,
    rows: f64,
}

fn reads(plan: &Value, found: &mut Vec<Read>) {
    let text = |name: &str| plan[name].as_str().unwrap_or_default().to_owned();
    let number = |name: &str| plan[name].as_f64().unwrap_or_default();
    if plan["Relation Name"].is_string() {
        let rows = (number("Actual Rows") + number("Rows Removed by Filter")) * number("Actual Loops");
        found.push(Read { how: text("Node Type"), table: text("Relation Name"), rows });
    }
    for below in plan["Plans"].as_array().into_iter().flatten() {
        reads(below, found);
    }
}

/// Runs the statement and says what it read.
async fn explain(world: &World, sql: &str, params: &[&(dyn ToSql + Sync)]) -> Vec<Read> {
    let row = world.sql.query_one(&format!("EXPLAIN (ANALYZE, FORMAT JSON) {sql}"), params).await.expect("a plan");
    let plan: Value = row.get(0);
    let mut found = vec![];
    reads(&plan[0]["Plan"], &mut found);
    assert!(!found.is_empty(), "{plan}");
    found
}

/// No table of messages, changes or members is read from end to end, and no more rows than `most` of `table`.
fn by_index(reads: &[Read], table: &str, most: f64) {
    for read in
        reads.iter().filter(|read| ["messages", "changes", "members", "conversations"].contains(&read.table.as_str()))
    {
        // A bitmap is made of an index too.
        assert!(read.how.starts_with("Index") || read.how.starts_with("Bitmap"), "{read:?} of {reads:#?}");
    }
    let rows: f64 = reads.iter().filter(|read| read.table == table).map(|read| read.rows).sum();
    assert!(rows <= most, "{rows} rows of {table}: {reads:#?}");
}

struct Large {
    world: World,
    ann: UserId,
    busy: ConversationId,
    many: Vec<ConversationId>,
}

async fn large() -> Large {
    let world = World::create().await;
    let (ann, bob) = (world.user("ann").await, world.user("bob").await);
    let busy = world.group("busy", &[ann, bob]).await;
    world.fill(busy, &[ann, bob], 50_000).await;
    let mut many = vec![];
    for n in 0..300 {
        let people = [bob, ann];
        let id = world.group(&format!("group {n}"), if n < 200 { &people } else { &people[..1] }).await;
        world.fill(id, &[ann, bob], 100).await;
        many.push(id);
    }
    for seq in 1..300 {
        world.edit(busy, seq, "edited").await;
    }
    // Strangers' conversations, so many that reading all of them would be noticed.
    world
        .sql
        .batch_execute(
            "INSERT INTO conversations (id, kind, created_by, member_count) SELECT gen_random_uuid(), 'direct', gen_random_uuid(), 5
                FROM generate_series(1, 20000);
             INSERT INTO members (conversation_id, user_id) SELECT c.id, gen_random_uuid()
                FROM conversations c, generate_series(1, 5) WHERE c.kind = 'direct';
             INSERT INTO user_streams (user_id) SELECT gen_random_uuid() FROM generate_series(1, 20000);",
        )
        .await
        .expect("strangers");
    world.sql.batch_execute("ANALYZE; SET plan_cache_mode = force_generic_plan").await.expect("statistics");
    Large { world, ann, busy, many }
}

#[tokio::test]
async fn everything_that_is_read_often_is_found_by_an_index() {
    let Large { world, ann, busy, many } = large().await;
    let none: Option<i64> = None;
    for (highest, lowest) in [(Some(i64::MAX), none), (Some(25_000), none), (none, Some(25_000))] {
        let reads = explain(&world, &messages::history_sql(), &[&busy.0, &ann.0, &highest, &lowest, &50_i64]).await;
        by_index(&reads, "messages", 50.0);
    }

    let ids: Vec<_> = many[..200].iter().map(|id| id.0).collect();
    let zeros = vec![0_i64; 200];
    let with_marks: Vec<bool> = (0..200).map(|n| n % 2 == 0).collect();
    let reads = explain(&world, &sync::heads_sql(), &[&ann.0, &ids, &with_marks]).await;
    by_index(&reads, "conversations", 200.0);
    by_index(&reads, "members", 400.0);

    // A crowd: ten people with twenty positions each.
    let (people, numbers) = (vec![ann.0; 10], (0..200_i64).map(|n| n / 20).collect::<Vec<_>>());
    let (readers, marks) = (vec![ann.0; 200], (0..200).map(|n| (n % 2 == 0).then_some(0_i64)).collect::<Vec<_>>());
    let crowd: [&(dyn ToSql + Sync); 8] =
        [&people, &zeros[..10].to_vec(), &numbers, &readers, &ids, &zeros, &zeros, &marks];
    let reads = explain(&world, &sync::moved_sql(), &crowd).await;
    by_index(&reads, "conversations", 200.0);
    by_index(&reads, "members", 400.0);
    by_index(&reads, "user_streams", 10.0);

    // Of half of them one message is new, of the others nothing.
    let high: Vec<i64> = (0..200).map(|n| 99 + n % 2).collect();
    let low = vec![99_i64; 200];
    by_index(&explain(&world, &sync::messages_sql(), &[&ids, &low, &high]).await, "messages", 100.0);

    let (busy_id, one) = (vec![busy.0], vec![250_i64]);
    let (to, known) = (vec![260_i64], vec![50_000_i64]);
    let reads = explain(&world, &sync::changes_sql(), &[&busy_id, &one, &to, &vec![0_i64], &known]).await;
    by_index(&reads, "changes", 10.0);
    by_index(&reads, "messages", 10.0);

    // Every second message is her own: two hundred rows make a hundred.
    by_index(
        &explain(&world, &sync::unread_sql(), &[&ann.0, &ids[..2].to_vec(), &zeros[..2].to_vec()]).await,
        "messages",
        400.0,
    );
    by_index(&explain(&world, &sync::unread_sql(), &[&ann.0, &busy_id, &vec![0_i64]]).await, "messages", 200.0);

    let time: Option<chrono::DateTime<chrono::Utc>> = None;
    let id: Option<uuid::Uuid> = None;
    let reads = explain(&world, &conversations::list_sql(), &[&ann.0, &time, &id, &51_i64]).await;
    let messages: Vec<_> = reads.iter().filter(|read| read.table == "messages").collect();
    assert!(messages.iter().all(|read| !read.how.starts_with("Seq")), "{messages:#?}");
    let rows: f64 = messages.iter().map(|read| read.rows).sum();
    assert!(rows <= 51.0 * 201.0, "unread is counted only for the page, and stops at a hundred: {rows}");
    let members = reads.iter().find(|read| read.table == "members").expect("her memberships");
    assert!(members.rows <= 201.0, "{members:?}");
}
