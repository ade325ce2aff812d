//! Bare inserts: one statement that puts a batch of rows by `unnest` into a table shaped like `messages` and advances
//! the heads of their conversations, each its own transaction. No judging, no numbering, no outbox: what the append is
//! compared with. SQL stands here and not in the store because it is no part of the product (ARCHITECTURE.md).
//!
//! The tables live in a schema of their own, dropped before and after; an advisory lock keeps two runs apart.

use super::Options;
use crate::report::latency::{Latency, Recorder};
use anyhow::{Context, Result, bail};
use futures_util::future::try_join_all;
use serde::Serialize;
use shared::clock;
use std::time::Duration;
use tokio_postgres::{Client, NoTls, Statement};
use uuid::Uuid;

const BATCHES: [usize; 3] = [100, 256, 1_000];
/// A worker has two sequencers with one connection each (`SEQUENCERS`).
const CONNECTIONS: [usize; 2] = [1, 2];
const LOCK: i64 = 0x6c6f_6164_7465_7374;

const SCHEMA: &str = "
DROP SCHEMA IF EXISTS loadtest_limit CASCADE;
CREATE SCHEMA loadtest_limit;
CREATE TABLE loadtest_limit.conversations (
    id         uuid PRIMARY KEY,
    last_seq   bigint NOT NULL DEFAULT 0,
    changed_at timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (fillfactor = 70);
CREATE TABLE loadtest_limit.messages (
    conversation_id uuid NOT NULL,
    seq             bigint NOT NULL,
    id              uuid NOT NULL,
    sender_id       uuid NOT NULL,
    kind            text NOT NULL,
    body            text NOT NULL,
    extra           jsonb,
    reply_to        uuid,
    digest          bytea,
    rev             bigint NOT NULL,
    created_at      timestamptz NOT NULL,
    edited_at       timestamptz,
    deleted_at      timestamptz,
    PRIMARY KEY (conversation_id, seq)
);
CREATE UNIQUE INDEX messages_id ON loadtest_limit.messages (id);";

const DROP: &str = "DROP SCHEMA IF EXISTS loadtest_limit CASCADE";

const APPEND: &str = "
WITH put AS (
    INSERT INTO loadtest_limit.messages
           (conversation_id, seq, id, sender_id, kind, body, extra, digest, rev, created_at)
    SELECT conversation_id, seq, id, sender_id, kind, body, extra, digest, 0, clock_timestamp()
    FROM unnest($1::uuid[], $2::bigint[], $3::uuid[], $4::uuid[], $5::text[], $6::text[], $7::jsonb[], $8::bytea[])
         AS row (conversation_id, seq, id, sender_id, kind, body, extra, digest))
UPDATE loadtest_limit.conversations AS head
SET last_seq = new.last_seq, changed_at = clock_timestamp()
FROM unnest($9::uuid[], $10::bigint[]) AS new (id, last_seq)
WHERE head.id = new.id";

#[derive(Debug, Serialize)]
pub struct Insert {
    pub batch: usize,
    pub connections: usize,
    pub rows_per_s: f64,
    /// Of one statement, its commit included.
    pub statement: Latency,
}

/// Each batch size with each number of connections, for the given length.
pub async fn measure(url: &str, options: &Options, length: Duration) -> Result<Vec<Insert>> {
    let keeper = connect(url).await?;
    let row = keeper.query_one("SELECT pg_try_advisory_lock($1)", &[&LOCK]).await.context("taking the lock")?;
    if !row.get::<_, bool>(0) {
        bail!("another `loadtest limit` is at work in this database");
    }
    let durable = "SELECT current_setting('fsync') = 'on' AND current_setting('synchronous_commit') <> 'off'";
    if !keeper.query_one(durable, &[]).await.context("reading settings")?.get::<_, bool>(0) {
        bail!("fsync or synchronous_commit is off in this database: its figures would mean nothing");
    }
    let outcome = all(&keeper, url, options, length).await;
    keeper.batch_execute(DROP).await.context("dropping the schema loadtest_limit")?;
    outcome
}

async fn all(keeper: &Client, url: &str, options: &Options, length: Duration) -> Result<Vec<Insert>> {
    let mut lines = Vec::new();
    for connections in CONNECTIONS {
        for batch in BATCHES {
            keeper.batch_execute(SCHEMA).await.context("making the schema loadtest_limit")?;
            lines.push(one(url, options, length, connections, batch).await?);
        }
    }
    Ok(lines)
}

/// Connections share out the conversations, as partitions do.
async fn one(url: &str, options: &Options, length: Duration, connections: usize, batch: usize) -> Result<Insert> {
    let per_connection = (options.conversations as usize).div_ceil(connections);
    let opened = (0..connections).map(|_| Appender::open(url, per_connection, options.body_bytes as usize));
    let mut appenders = try_join_all(opened).await?;
    let started = clock::monotonic();
    let deadline = started + length;
    let runs = try_join_all(appenders.iter_mut().map(async |appender| {
        let (mut rows, mut recorder) = (0_usize, Vec::new());
        while clock::monotonic() < deadline {
            recorder.push(appender.append(batch).await?);
            rows += batch;
        }
        anyhow::Ok((rows, recorder))
    }))
    .await?;
    let elapsed = started.elapsed().as_secs_f64();
    let mut recorder = Recorder::new();
    runs.iter().flat_map(|(_, times)| times).for_each(|time| recorder.record(*time));
    let rows: usize = runs.iter().map(|(rows, _)| rows).sum();
    Ok(Insert { batch, connections, rows_per_s: rows as f64 / elapsed, statement: recorder.summary() })
}

async fn connect(url: &str) -> Result<Client> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.context("connecting to PostgreSQL")?;
    // It ends with the client; its error comes up in the client's calls as well.
    tokio::spawn(connection);
    Ok(client)
}

/// One connection with conversations of its own, whose seq it counts itself.
struct Appender {
    client: Client,
    statement: Statement,
    conversations: Vec<(Uuid, i64)>,
    /// Where in the circle of conversations the next row goes.
    next: usize,
    body: String,
}

impl Appender {
    async fn open(url: &str, conversations: usize, body_bytes: usize) -> Result<Self> {
        let client = connect(url).await?;
        let conversations: Vec<(Uuid, i64)> = (0..conversations).map(|_| (Uuid::now_v7(), 0)).collect();
        let ids: Vec<Uuid> = conversations.iter().map(|(id, _)| *id).collect();
        let heads = "INSERT INTO loadtest_limit.conversations (id) SELECT unnest($1::uuid[])";
        client.execute(heads, &[&ids]).await.context("making conversations")?;
        client.batch_execute("SET plan_cache_mode = force_generic_plan").await.context("setting up")?;
        let statement = client.prepare(APPEND).await.context("preparing the insert")?;
        Ok(Self { client, statement, conversations, next: 0, body: "x".repeat(body_bytes) })
    }

    /// One batch; how long the statement took.
    async fn append(&mut self, batch: usize) -> Result<Duration> {
        let (mut places, mut seqs) = (Vec::with_capacity(batch), Vec::with_capacity(batch));
        for _ in 0..batch {
            // A step of 7 spreads a batch that is smaller than the circle.
            self.next = (self.next + 7) % self.conversations.len();
            let (id, seq) = &mut self.conversations[self.next];
            *seq += 1;
            places.push(*id);
            seqs.push(*seq);
        }
        let ids: Vec<Uuid> = (0..batch).map(|_| Uuid::now_v7()).collect();
        let (kinds, bodies) = (vec!["text"; batch], vec![self.body.as_str(); batch]);
        let (extras, digests) = (vec![None::<serde_json::Value>; batch], vec![&[7_u8; 32][..]; batch]);
        let mut touched: Vec<(Uuid, i64)> = places.iter().copied().zip(seqs.iter().copied()).collect();
        touched.sort_unstable_by(|a, b| b.cmp(a));
        touched.dedup_by_key(|(id, _)| *id);
        let (heads, lasts): (Vec<Uuid>, Vec<i64>) = touched.into_iter().unzip();
        let begun = clock::monotonic();
        self.client
            .execute(&self.statement, &[&places, &seqs, &ids, &ids, &kinds, &bodies, &extras, &digests, &heads, &lasts])
            .await
            .context("inserting a batch")?;
        Ok(begun.elapsed())
    }
}
