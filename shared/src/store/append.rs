//! The append: a batch of messages, and the marks that came with them, as one transaction sent in one flush.
//!
//! It has two forms. `STORE` takes the messages for what they nearly always are, new and allowed, and fails as a whole
//! where they are not: where somebody is no member, a conversation is closed, has changed since the statement looked, or a
//! message was there before. Only then `JUDGE` goes through them one by one, at twice the price.
//!
//! What is judged needs a statement before it, because it must see what the previous holder of the locks committed: LOCK
//! only locks the batch's conversations in id order. READ COMMITTED gives each statement its own snapshot; in one
//! statement a copy that waited for the lock would miss what it duplicates and leave a hole in `seq`. STORE does without:
//! its update of the heads waits for the previous holder too, and then finds that they are not where it saw them.

use super::{Result, Session, Store, StoreError};
use crate::domain::{ConversationId, MessageId, MessageKind, UserId};
use chrono::{DateTime, Utc};
use futures_util::future;
use tokio_postgres::{Row, Statement, types::ToSql};
use uuid::Uuid;

const LOCK: &str = "SELECT id FROM conversations WHERE id = ANY($1) ORDER BY id FOR NO KEY UPDATE";

/// `n` numbers the messages of a batch within their conversation. A division by zero refuses what is not all sound, before
/// anything is inserted; the unique index refuses a duplicate. Inserted by id, so that transactions with the same ids
/// cannot wait for each other in a circle; `$13` is sorted for the same reason. A head that another transaction has changed
/// since it was seen has another `xmin` when the update has waited for it, and is not counted; `ctid` alone would not tell
/// in every release of PostgreSQL: some do not look at it again.
const STORE: &str = "
WITH seen AS MATERIALIZED (
    SELECT v.ctid AS place, v.xmin AS version, v.id, h.count, v.last_seq, v.last_rev, v.member_version, greatest(clock_timestamp(), v.changed_at) AS at
    FROM unnest($13::uuid[], $14::int[]) AS h(id, count) JOIN conversations v ON v.id = h.id WHERE v.closed_at IS NULL),
head AS (
    UPDATE conversations v SET last_seq = seen.last_seq + seen.count, changed_at = seen.at FROM seen
    WHERE v.ctid = seen.place AND v.xmin = seen.version RETURNING 1),
allowed AS (
    SELECT count(*) AS count FROM unnest($3::uuid[], $4::uuid[], $8::uuid[]) AS c(conv, sender, reply_to)
    JOIN members m ON m.conversation_id = c.conv AND m.user_id = c.sender
    WHERE c.reply_to IS NULL OR EXISTS (SELECT FROM messages r WHERE r.id = c.reply_to
          AND r.conversation_id = c.conv AND r.seq > m.from_seq AND r.deleted_at IS NULL)),
sound AS MATERIALIZED (
    SELECT 1 / (allowed.count = cardinality($3) AND (SELECT count(*) FROM head) = cardinality($13))::int AS one FROM allowed),
put AS (
    INSERT INTO messages (conversation_id, seq, id, sender_id, kind, body, extra, reply_to, digest, rev, created_at)
    SELECT conv, last_seq + n, c.id, sender, kind, body, extra::json, reply_to, digest, last_rev, at
    FROM unnest($1::int[], $2::uuid[], $3, $4, $5::text[], $6::text[], $7::text[], $8, $9::bytea[])
        AS c(n, id, conv, sender, kind, body, extra, reply_to, digest)
    JOIN seen ON seen.id = c.conv WHERE (SELECT one FROM sound) = 1 ORDER BY c.id),
box AS (
    INSERT INTO outbox (id, worker, moved, moved_from, moved_to)
    SELECT $10::uuid, $11::bigint, array_agg(id), array_agg(last_seq + last_rev), array_agg(last_seq + count + last_rev)
    FROM seen WHERE (SELECT one FROM sound) = 1),
gone AS (DELETE FROM outbox WHERE id = ANY($12::uuid[]))
SELECT id, last_seq, last_rev, at, member_version FROM seen WHERE (SELECT one FROM sound) = 1";

/// Each message by itself; `ord` is its place in the batch.
const JUDGE: &str = "
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
    INSERT INTO outbox (id, worker, moved, moved_from, moved_to)
    SELECT $10::uuid, $11::bigint, array_agg(conv), array_agg(lo - 1 + rev), array_agg(hi + rev) FROM span HAVING count(*) > 0),
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
    store: Statement,
    judge: Statement,
    mark: Statement,
}

/// How the messages of a batch are stored.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Store,
    Judge,
}

/// What the append does beside storing messages.
#[derive(Clone, Copy)]
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
        // Plans for index access, even while the tables are still tiny and unanalysed.
        client
            .batch_execute(
                "SET enable_seqscan = off; SET enable_mergejoin = off; SET enable_memoize = off; SET jit = off",
            )
            .await?;
        let prepare = |sql| client.prepare(sql);
        let (lock, store, judge, mark) =
            future::try_join4(prepare(LOCK), prepare(STORE), prepare(JUDGE), prepare(MARK)).await?;
        Ok(Self { session, lock, store, judge, mark })
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
        if !messages.is_empty() {
            match self.run(Form::Store, messages, marks, book, "COMMIT").await {
                Err(StoreError::Data(_) | StoreError::Conflict(_)) => {
                    metrics::counter!("rookery_append_judged_total").increment(1);
                }
                done => return done,
            }
        }
        self.run(Form::Judge, messages, marks, book, "COMMIT").await
    }

    /// The same, rolled back at the end: what `append` would say. For a mutant that tests with faults must notice.
    pub async fn rehearse(
        &mut self,
        messages: &[NewMessage<'_>],
        marks: &[NewMarks],
        book: Bookkeeping<'_>,
    ) -> Result<(Vec<Appended>, Vec<Option<Marked>>)> {
        self.run(Form::Judge, messages, marks, book, "ROLLBACK").await
    }

    async fn run(
        &self,
        form: Form,
        messages: &[NewMessage<'_>],
        marks: &[NewMarks],
        book: Bookkeeping<'_>,
        end: &str,
    ) -> Result<(Vec<Appended>, Vec<Option<Marked>>)> {
        let client = &self.session.client;
        let heads = Heads::of(messages);
        let ord: Vec<i32>;
        let number = match form {
            Form::Store => &heads.n,
            Form::Judge => {
                ord = (0..messages.len() as i32).collect();
                &ord
            }
        };
        let columns = Columns::of(messages);
        let marked = MarkColumns::of(marks);
        let appended = async {
            if messages.is_empty() {
                return Ok(vec![]);
            }
            let mut values: Vec<&(dyn ToSql + Sync)> = vec![number];
            values.extend(columns.values());
            values.extend([&book.outbox as &(dyn ToSql + Sync), &book.worker, &book.handed_on]);
            match form {
                Form::Store => {
                    values.extend([&heads.id as &(dyn ToSql + Sync), &heads.count]);
                    client.query(&self.store, &values).await
                }
                Form::Judge => client.query(&self.judge, &values).await,
            }
        };
        let marking = async {
            if marks.is_empty() {
                return Ok(vec![]);
            }
            client
                .query(&self.mark, &[&marked.ord, &marked.conversation, &marked.user, &marked.read, &marked.delivered])
                .await
        };
        if form == Form::Store && marks.is_empty() {
            // A statement alone is a transaction, and its rows end only with ReadyForQuery, which follows the commit.
            return Ok((heads.appended(messages, &appended.await?)?, vec![]));
        }
        let mut conversations: Vec<Uuid> =
            heads.id.iter().copied().chain(marks.iter().map(|m| m.conversation.0)).collect();
        conversations.sort_unstable();
        conversations.dedup();
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
        let appended = match form {
            Form::Store => heads.appended(messages, &appended)?,
            Form::Judge => appended.iter().map(appended_row).collect::<Result<_>>()?,
        };
        Ok((appended, marked.iter().map(marked_row).collect()))
    }
}

/// The conversations of a batch in the order of their ids, how many messages each gets, and each message's number in its own.
struct Heads {
    id: Vec<Uuid>,
    count: Vec<i32>,
    n: Vec<i32>,
}

impl Heads {
    fn of(messages: &[NewMessage<'_>]) -> Self {
        let mut id: Vec<Uuid> = messages.iter().map(|m| m.conversation.0).collect();
        id.sort_unstable();
        id.dedup();
        let mut count = vec![0; id.len()];
        let n = messages
            .iter()
            .map(|message| {
                let at = id.partition_point(|id| *id < message.conversation.0);
                count[at] += 1;
                count[at]
            })
            .collect();
        Self { id, count, n }
    }

    /// What each message has become, from where its conversation was before.
    fn appended(&self, messages: &[NewMessage<'_>], rows: &[Row]) -> Result<Vec<Appended>> {
        let mut before: Vec<Option<&Row>> = vec![None; self.id.len()];
        for row in rows {
            if let Ok(at) = self.id.binary_search(&row.get(0)) {
                before[at] = Some(row);
            }
        }
        let of = |(message, n): (&NewMessage<'_>, &i32)| {
            let at = self.id.partition_point(|id| *id < message.conversation.0);
            let row = before[at].ok_or_else(|| StoreError::Broken("the append lost a conversation".to_owned()))?;
            Ok(Appended {
                verdict: Verdict::New,
                seq: row.get::<_, i64>(1) + i64::from(*n),
                rev: row.get(2),
                at: row.get(3),
                member_version: row.get(4),
            })
        };
        messages.iter().zip(&self.n).map(of).collect()
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

    fn values(&self) -> [&(dyn ToSql + Sync); 8] {
        [&self.id, &self.conversation, &self.sender, &self.kind, &self.body, &self.extra, &self.reply_to, &self.digest]
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
