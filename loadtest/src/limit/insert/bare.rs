//! The bare statement: a batch of numbered rows by `unnest` into `messages`, and the heads of their conversations.

use super::SCHEMA;
use super::lane::Row;
use crate::database::{self, Client, Statement};
use anyhow::{Context, Result};
use uuid::Uuid;

const INSERT: &str = "
WITH put AS (
    INSERT INTO messages (conversation_id, seq, id, sender_id, kind, body, extra, reply_to, digest, rev, created_at)
    SELECT conversation_id, seq, id, sender_id, kind, body, extra::json, reply_to, digest, 0, clock_timestamp()
    FROM unnest($1::uuid[], $2::bigint[], $3::uuid[], $4::uuid[], $5::text[], $6::text[], $7::text[], $8::uuid[], $9::bytea[])
         AS row (conversation_id, seq, id, sender_id, kind, body, extra, reply_to, digest))
UPDATE conversations AS head SET last_seq = new.last_seq, changed_at = clock_timestamp()
FROM unnest($10::uuid[], $11::bigint[]) AS new (id, last_seq) WHERE head.id = new.id";

/// A group, whose creator is its only member.
const CONVERSATIONS: &str = "
WITH made AS (
    INSERT INTO conversations (id, kind, title, created_by, member_count) SELECT unnest($1::uuid[]), 'group', 'limit', $2, 1
    RETURNING id)
INSERT INTO members (conversation_id, user_id, role) SELECT id, $2, 'owner' FROM made";

pub struct Bare {
    client: Client,
    statement: Statement,
    /// The server's process for this connection.
    pub pid: u32,
}

impl Bare {
    /// Makes the conversations, too.
    pub async fn open(url: &str, conversations: &[Uuid], sender: Uuid) -> Result<Self> {
        let client = database::connect(url).await?;
        // The same plans as the append's: made once, by the index, whatever the tables hold.
        let settings = format!(
            "SET search_path = {SCHEMA}; SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off; \
             SET enable_mergejoin = off; SET jit = off"
        );
        client.batch_execute(&settings).await.context("setting up")?;
        client.execute(CONVERSATIONS, &[&conversations, &sender]).await.context("making conversations")?;
        let row = client.query_one("SELECT pg_backend_pid()", &[]).await.context("asking for the pid")?;
        let statement = client.prepare(INSERT).await.context("preparing the insert")?;
        Ok(Self { client, statement, pid: row.get::<_, i32>(0).unsigned_abs() })
    }

    /// The server's process for the append's connection that was opened last.
    pub async fn youngest_appender(&self) -> Result<u32> {
        let sql = "SELECT pid FROM pg_stat_activity WHERE application_name = 'rookery sequencer'
                   ORDER BY backend_start DESC LIMIT 1";
        let row = self.client.query_one(sql, &[]).await.context("looking for the append's connection")?;
        Ok(row.get::<_, i32>(0).unsigned_abs())
    }

    pub async fn insert(&self, sender: Uuid, body: &str, rows: &[Row], heads: &[(Uuid, i64)]) -> Result<()> {
        let count = rows.len();
        let places: Vec<Uuid> = rows.iter().map(|row| row.conversation).collect();
        let seqs: Vec<i64> = rows.iter().map(|row| row.seq).collect();
        let ids: Vec<Uuid> = rows.iter().map(|row| row.id).collect();
        let digests: Vec<&[u8]> = rows.iter().map(|row| row.digest.as_slice()).collect();
        let (senders, kinds, bodies) = (vec![sender; count], vec!["text"; count], vec![body; count]);
        let (extras, replies) = (vec![None::<&str>; count], vec![None::<Uuid>; count]);
        let (heads, lasts): (Vec<Uuid>, Vec<i64>) = heads.iter().copied().unzip();
        self.client
            .execute(
                &self.statement,
                &[&places, &seqs, &ids, &senders, &kinds, &bodies, &extras, &replies, &digests, &heads, &lasts],
            )
            .await
            .context("inserting a batch")?;
        Ok(())
    }
}
