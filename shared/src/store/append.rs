//! The append: a batch of messages, and the marks that came with them, as one transaction sent in one flush.
//!
//! Two statements, because the second must see what the previous holder of the locks committed: the first only locks
//! the batch's conversations in id order; the second judges each message (member, duplicate, closed), numbers only what
//! is new, inserts, advances the heads, writes the outbox row and deletes rows handed on before. READ COMMITTED gives
//! each statement its own snapshot; in one statement a copy that waited for the lock would miss what it duplicates and
//! leave a hole in `seq`.

use super::{Result, Session, Store, StoreError};
use crate::domain::{ConversationId, MessageId, MessageKind, UserId};
use chrono::{DateTime, Utc};
use futures_util::future;
use tokio_postgres::{Row, Statement};
use uuid::Uuid;

const LOCK: &str = "SELECT id FROM conversations WHERE id = ANY($1) ORDER BY id FOR NO KEY UPDATE";

const APPEND: &str = "
WITH c AS MATERIALIZED (
    SELECT * FROM unnest($1::int[], $2::uuid[], $3::uuid[], $4::uuid[], $5::text[], $6::text[], $7::text[], $8::uuid[], $9::bytea[])
        AS t(ord, id, conv, sender, kind, body, extra, reply_to, digest)),
judged AS MATERIALIZED (
    SELECT c.*, v.last_seq, v.last_rev, v.member_version, o.seq AS old_seq, greatest(clock_timestamp(), v.changed_at) AS at,
        CASE WHEN o.id IS NOT NULL AND o.sender_id = c.sender AND o.conversation_id = c.conv
                  AND (o.deleted_at IS NOT NULL OR o.digest = c.digest) AND m.user_id IS NOT NULL THEN 0
             WHEN m.user_id IS NULL THEN 2
             WHEN o.id IS NOT NULL THEN 1
             WHEN v.closed_at IS NOT NULL THEN 3
             WHEN c.reply_to IS NOT NULL AND NOT EXISTS (SELECT FROM messages r WHERE r.id = c.reply_to
                  AND r.conversation_id = c.conv AND r.seq > m.from_seq AND r.deleted_at IS NULL) THEN 4
             ELSE 5 END AS verdict
    FROM c LEFT JOIN conversations v ON v.id = c.conv
           LEFT JOIN members m ON m.conversation_id = c.conv AND m.user_id = c.sender
           LEFT JOIN messages o ON o.id = c.id),
placed AS MATERIALIZED (
    SELECT *, CASE WHEN verdict = 5 THEN last_seq + count(*) FILTER (WHERE verdict = 5) OVER (PARTITION BY conv ORDER BY ord)
              ELSE old_seq END AS seq
    FROM judged),
span AS MATERIALIZED (
    SELECT conv, min(seq) AS lo, max(seq) AS hi, max(last_rev) AS rev, max(at) AS at FROM placed WHERE verdict = 5 GROUP BY conv),
head AS (UPDATE conversations v SET last_seq = hi, changed_at = span.at FROM span WHERE v.id = span.conv),
put AS (
    INSERT INTO messages (conversation_id, seq, id, sender_id, kind, body, extra, reply_to, digest, rev, created_at)
    SELECT conv, seq, id, sender, kind, body, extra::json, reply_to, digest, last_rev, at FROM placed WHERE verdict = 5 ORDER BY id),
box AS (
    INSERT INTO outbox (id, worker, events)
    SELECT $10::uuid, $11::bigint, jsonb_agg(jsonb_build_object('Conversation', jsonb_build_object('id', conv, 'from', lo - 1 + rev, 'to', hi + rev)))
    FROM span HAVING count(*) > 0),
gone AS (DELETE FROM outbox WHERE id = ANY($12::uuid[]))
SELECT ord, verdict, seq, last_rev, at, member_version FROM placed ORDER BY ord";

/// Marks of people in conversations, each pair once. They only rise, never past the last message; reading is having.
/// One that is not named is 0 here and raises nothing: `least` and `greatest` pass over NULL.
const MARK: &str = "
WITH x AS MATERIALIZED (
    SELECT ord, conv, usr, coalesce(read, 0) AS read, coalesce(delivered, 0) AS delivered, read IS NOT NULL AS reads, v.last_seq
    FROM unnest($1::int[], $2::uuid[], $3::uuid[], $4::bigint[], $5::bigint[]) AS t(ord, conv, usr, read, delivered)
    LEFT JOIN conversations v ON v.id = t.conv),
held AS MATERIALIZED (
    SELECT m.conversation_id, m.user_id, m.read_seq, m.delivered_seq, m.marked_unread FROM x
    JOIN members m ON m.conversation_id = x.conv AND m.user_id = x.usr ORDER BY 1, 2 FOR NO KEY UPDATE OF m),
risen AS MATERIALIZED (
    SELECT x.ord, held.conversation_id, held.user_id, held.read_seq AS was_read, held.delivered_seq AS was_delivered, held.marked_unread,
        greatest(held.read_seq, least(x.read, x.last_seq)) AS read_seq,
        greatest(held.delivered_seq, least(x.read, x.last_seq), least(x.delivered, x.last_seq)) AS delivered_seq,
        held.marked_unread AND NOT x.reads AS unread_flag
    FROM x JOIN held ON held.conversation_id = x.conv AND held.user_id = x.usr),
put AS (
    UPDATE members m SET read_seq = r.read_seq, delivered_seq = r.delivered_seq, marked_unread = r.unread_flag FROM risen r
    WHERE m.conversation_id = r.conversation_id AND m.user_id = r.user_id
      AND (r.read_seq > r.was_read OR r.delivered_seq > r.was_delivered OR r.unread_flag <> r.marked_unread))
SELECT x.ord, r.read_seq, r.delivered_seq, r.read_seq > r.was_read OR r.delivered_seq > r.was_delivered
FROM x LEFT JOIN risen r USING (ord) ORDER BY x.ord";

/// A message to be stored; the batch's rows are in the order of their commands.
#[derive(Clone, Debug)]
pub struct NewMessage<'a> {
    pub id: MessageId,
    pub conversation: ConversationId,
    pub sender: UserId,
    pub kind: MessageKind,
    pub body: &'a str,
    pub extra: Option<&'a str>,
    pub reply_to: Option<MessageId>,
    pub digest: [u8; 16],
}

#[derive(Clone, Copy, Debug)]
pub struct NewMarks {
    pub conversation: ConversationId,
    pub user: UserId,
    pub read_seq: Option<i64>,
    pub delivered_seq: Option<i64>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Stored as `seq`.
    New,
    /// Was stored before, as `seq`, by the same sender and with the same content.
    Same,
    IdConflict,
    /// No such conversation, or the sender is not a member.
    NotFound,
    Closed,
    /// It answers a message that its sender cannot see there.
    BadReply,
}

#[derive(Clone, Copy, Debug)]
pub struct Appended {
    pub verdict: Verdict,
    pub seq: i64,
    pub rev: i64,
    pub at: DateTime<Utc>,
    pub member_version: i64,
}

/// A person's marks after the transaction; `None` where he is not a member.
#[derive(Clone, Copy, Debug)]
pub struct Marked {
    pub read_seq: i64,
    pub delivered_seq: i64,
    pub changed: bool,
}

/// One connection that appends, one batch at a time.
pub struct Appender {
    session: Session,
    lock: Statement,
    append: Statement,
    mark: Statement,
}

/// What the append does beside storing messages.
pub struct Bookkeeping<'a> {
    /// The outbox row's id, and the worker whose it is.
    pub outbox: Uuid,
    pub worker: i64,
    /// Rows handed on since the last append.
    pub handed_on: &'a [Uuid],
}

impl Appender {
    pub async fn connect(store: &Store) -> Result<Self> {
        let session = store.session("rookery sequencer").await?;
        let client = &session.client;
        // One plan for any batch, made for index access even while the tables are still tiny and unanalysed.
        client
            .batch_execute("SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off; SET enable_mergejoin = off; SET jit = off")
            .await?;
        let (lock, append, mark) =
            future::try_join3(client.prepare(LOCK), client.prepare(APPEND), client.prepare(MARK)).await?;
        Ok(Self { session, lock, append, mark })
    }

    /// Resolves when the connection has ended.
    pub async fn closed(&mut self) {
        self.session.closed().await;
    }

    /// Stores the batch. All or nothing: an error means that nothing of it is stored, or (a broken connection) that it
    /// is unknown, and then the same batch again finds out.
    ///
    /// `Conflict("messages_id")`: another transaction stored one of these ids meanwhile; again, it is a duplicate.
    pub async fn append(
        &mut self,
        messages: &[NewMessage<'_>],
        marks: &[NewMarks],
        book: Bookkeeping<'_>,
    ) -> Result<(Vec<Appended>, Vec<Option<Marked>>)> {
        self.run(messages, marks, book, "COMMIT").await
    }

    /// The same, rolled back at the end: what `append` would say. For a mutant that tests with faults must notice.
    pub async fn rehearse(
        &mut self,
        messages: &[NewMessage<'_>],
        marks: &[NewMarks],
        book: Bookkeeping<'_>,
    ) -> Result<(Vec<Appended>, Vec<Option<Marked>>)> {
        self.run(messages, marks, book, "ROLLBACK").await
    }

    async fn run(
        &self,
        messages: &[NewMessage<'_>],
        marks: &[NewMarks],
        book: Bookkeeping<'_>,
        end: &str,
    ) -> Result<(Vec<Appended>, Vec<Option<Marked>>)> {
        let client = &self.session.client;
        let mut conversations: Vec<Uuid> =
            messages.iter().map(|m| m.conversation.0).chain(marks.iter().map(|m| m.conversation.0)).collect();
        conversations.sort_unstable();
        conversations.dedup();
        let rows = Columns::of(messages);
        let marked = MarkColumns::of(marks);
        let appended = async {
            if messages.is_empty() {
                return Ok(vec![]);
            }
            client
                .query(
                    &self.append,
                    &[
                        &rows.ord,
                        &rows.id,
                        &rows.conversation,
                        &rows.sender,
                        &rows.kind,
                        &rows.body,
                        &rows.extra,
                        &rows.reply_to,
                        &rows.digest,
                        &book.outbox,
                        &book.worker,
                        &book.handed_on,
                    ],
                )
                .await
        };
        let marking = async {
            if marks.is_empty() {
                return Ok(vec![]);
            }
            client
                .query(&self.mark, &[&marked.ord, &marked.conversation, &marked.user, &marked.read, &marked.delivered])
                .await
        };
        // join polls in order, so all five are in the connection's queue before the first answer: one flush.
        let (begin, locked, marked, appended, commit) = future::join5(
            client.batch_execute("BEGIN"),
            client.execute(&self.lock, &[&conversations]),
            marking,
            appended,
            client.batch_execute(end),
        )
        .await;
        // After an error COMMIT succeeds as a ROLLBACK: only all of them together mean that it is stored.
        begin?;
        locked?;
        let marked = marked?;
        let appended = appended?;
        commit?;
        Ok((appended.iter().map(appended_row).collect::<Result<_>>()?, marked.iter().map(marked_row).collect()))
    }
}

fn appended_row(row: &Row) -> Result<Appended> {
    let verdict = match row.get::<_, i32>(1) {
        0 => Verdict::Same,
        1 => Verdict::IdConflict,
        2 => Verdict::NotFound,
        3 => Verdict::Closed,
        4 => Verdict::BadReply,
        5 => Verdict::New,
        other => return Err(StoreError::Broken(format!("the append knows no verdict {other}"))),
    };
    Ok(Appended {
        verdict,
        seq: row.get::<_, Option<i64>>(2).unwrap_or(0),
        rev: row.get::<_, Option<i64>>(3).unwrap_or(0),
        at: row.get::<_, Option<DateTime<Utc>>>(4).unwrap_or_default(),
        member_version: row.get::<_, Option<i64>>(5).unwrap_or(0),
    })
}

fn marked_row(row: &Row) -> Option<Marked> {
    Some(Marked {
        read_seq: row.get::<_, Option<i64>>(1)?,
        delivered_seq: row.get::<_, Option<i64>>(2)?,
        changed: row.get::<_, Option<bool>>(3)?,
    })
}

/// The batch by columns, as `unnest` takes it.
#[derive(Default)]
struct Columns<'a> {
    ord: Vec<i32>,
    id: Vec<Uuid>,
    conversation: Vec<Uuid>,
    sender: Vec<Uuid>,
    kind: Vec<&'static str>,
    body: Vec<&'a str>,
    extra: Vec<Option<&'a str>>,
    reply_to: Vec<Option<Uuid>>,
    digest: Vec<&'a [u8]>,
}

impl<'a> Columns<'a> {
    fn of(messages: &'a [NewMessage<'a>]) -> Self {
        Self {
            ord: (0..messages.len() as i32).collect(),
            id: messages.iter().map(|m| m.id.0).collect(),
            conversation: messages.iter().map(|m| m.conversation.0).collect(),
            sender: messages.iter().map(|m| m.sender.0).collect(),
            kind: messages.iter().map(|m| m.kind.as_str()).collect(),
            body: messages.iter().map(|m| m.body).collect(),
            extra: messages.iter().map(|m| m.extra).collect(),
            reply_to: messages.iter().map(|m| m.reply_to.map(|id| id.0)).collect(),
            digest: messages.iter().map(|m| m.digest.as_slice()).collect(),
        }
    }
}

struct MarkColumns {
    ord: Vec<i32>,
    conversation: Vec<Uuid>,
    user: Vec<Uuid>,
    read: Vec<Option<i64>>,
    delivered: Vec<Option<i64>>,
}

impl MarkColumns {
    fn of(marks: &[NewMarks]) -> Self {
        Self {
            ord: (0..marks.len() as i32).collect(),
            conversation: marks.iter().map(|m| m.conversation.0).collect(),
            user: marks.iter().map(|m| m.user.0).collect(),
            read: marks.iter().map(|m| m.read_seq).collect(),
            delivered: marks.iter().map(|m| m.delivered_seq).collect(),
        }
    }
}

impl super::Store {
    /// Messages by conversation and `seq`, as they are now: answers to sends that were stored before.
    pub async fn list_messages_at(&self, places: &[(ConversationId, i64)]) -> Result<Vec<crate::view::MessageView>> {
        let conversations: Vec<Uuid> = places.iter().map(|(id, _)| id.0).collect();
        let seqs: Vec<i64> = places.iter().map(|(_, seq)| *seq).collect();
        let sql = format!(
            "SELECT {} FROM unnest($1::uuid[], $2::bigint[]) AS t(conv, at) JOIN messages m ON m.conversation_id = t.conv AND m.seq = t.at",
            super::rows::MESSAGE_COLUMNS
        );
        let client = self.client().await?;
        let statement = client.prepare_cached(&sql).await?;
        client.query(&statement, &[&conversations, &seqs]).await?.iter().map(super::rows::message_view).collect()
    }
}
