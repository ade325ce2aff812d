//! The rows of one page: what the reader's own stream says, and of each conversation that moved a bounded range of
//! messages and changes, the marks, and his unread count.

use super::{
    Known,
    changes::{self, Change},
    heads::Head,
};
use crate::{
    domain::UserId,
    store::{
        Result, StoreError, conversations,
        rows::{MESSAGE_COLUMNS, message_view},
    },
    view::MessageView,
};
use chrono::{DateTime, Utc};
use deadpool_postgres::Transaction;
use futures_util::future::try_join4;
use serde::Serialize;
use serde_json::value::RawValue;
use std::collections::HashMap;
use tokio_postgres::{Row, types::ToSql};
use uuid::Uuid;

/// What concerns the reader alone.
pub(super) struct UserChange {
    pub urev: i64,
    pub kind: String,
    pub conversation: Option<Uuid>,
    pub data: Box<RawValue>,
    pub at: DateTime<Utc>,
}

/// Kinds after which the reader is, or is not, in a conversation.
const ADDED: &str = "conversation.created";
const REMOVED: &str = "conversation.deleted";

impl UserChange {
    /// The conversation that the reader came to or went from.
    pub fn membership(&self) -> Option<Uuid> {
        self.conversation.filter(|_| matches!(self.kind.as_str(), ADDED | REMOVED))
    }
}

/// A conversation that moved, and how many messages and changes of it this page has room for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    pub id: Uuid,
    pub known: Known,
    pub head: Head,
    pub take: i64,
}

impl Wanted {
    /// The first `take` events in order of place hold at most that many messages and at most that many changes.
    pub fn last_seq(&self) -> i64 {
        self.head.seq.min(self.known.seq + self.take)
    }

    pub fn last_rev(&self) -> i64 {
        self.head.rev.min(self.known.rev + self.take)
    }
}

#[derive(Serialize)]
pub(super) struct Mark {
    pub user_id: UserId,
    pub read_seq: i64,
    pub delivered_seq: i64,
}

/// What was found of one conversation; messages by `seq`, changes by `rev`.
#[derive(Default)]
pub(super) struct Found {
    pub messages: Vec<MessageView>,
    pub changes: Vec<Change>,
    pub marks: Vec<Mark>,
    pub unread: i64,
}

pub(super) async fn list_user_changes(
    tx: &Transaction<'_>,
    user: UserId,
    after: i64,
    limit: i64,
) -> Result<Vec<UserChange>> {
    let statement = tx
        .prepare_cached(
            "SELECT urev, kind, conversation_id, data::text, at FROM user_changes
             WHERE user_id = $1 AND urev > $2 ORDER BY urev LIMIT $3",
        )
        .await?;
    let rows = tx.query(&statement, &[&user.0, &after, &limit]).await?;
    let change = |row: &Row| {
        Ok(UserChange {
            urev: row.get(0),
            kind: row.get(1),
            conversation: row.get(2),
            data: stored_json(row.get(3))?,
            at: row.get(4),
        })
    };
    rows.iter().map(change).collect()
}

fn stored_json(text: String) -> Result<Box<RawValue>> {
    RawValue::from_string(text).map_err(|error| StoreError::Broken(format!("a logged change's data: {error}")))
}

/// $1 ids, $2 after this `seq`, $3 up to this one.
pub fn messages_sql() -> String {
    format!(
        "SELECT {MESSAGE_COLUMNS} FROM unnest($1::uuid[], $2::bigint[], $3::bigint[]) AS p(id, lo, hi)
         CROSS JOIN LATERAL (SELECT * FROM messages m
            WHERE m.conversation_id = p.id AND m.seq > p.lo AND m.seq <= p.hi OFFSET 0) m
         ORDER BY m.conversation_id, m.seq"
    )
}

/// $1 the reader, $2 ids, $3 what of each is seen.
pub fn unread_sql() -> String {
    let unread = conversations::unread_sql("p.id", "p.seen_seq");
    format!("SELECT p.id, {unread} AS unread FROM unnest($2::uuid[], $3::bigint[]) AS p(id, seen_seq)")
}

const MARKS: &str = "SELECT o.conversation_id, o.user_id, o.read_seq, o.delivered_seq FROM unnest($1::uuid[]) AS p(id)
    CROSS JOIN LATERAL (SELECT * FROM members o WHERE o.conversation_id = p.id OFFSET 0) o ORDER BY o.conversation_id, o.user_id";

/// Everything of these conversations; statements that do not wait for another's rows are sent together.
pub(super) async fn read(tx: &Transaction<'_>, user: UserId, wanted: &[Wanted]) -> Result<HashMap<Uuid, Found>> {
    if wanted.is_empty() {
        return Ok(HashMap::new());
    }
    let messages = tx.prepare_cached(&messages_sql()).await?;
    let (marks, unread) = (tx.prepare_cached(MARKS).await?, tx.prepare_cached(&unread_sql()).await?);
    let ids: Vec<Uuid> = wanted.iter().map(|w| w.id).collect();
    let small: Vec<Uuid> = wanted.iter().filter(|w| w.head.marks_of_all).map(|w| w.id).collect();
    let each = |value: fn(&Wanted) -> i64| wanted.iter().map(value).collect::<Vec<i64>>();
    let (low, high) = (each(|w| w.known.seq.max(w.head.from_seq)), each(Wanted::last_seq));
    let seen = each(|w| w.head.read_seq.max(w.head.from_seq));
    let query = async |statement, parameters: &[&(dyn ToSql + Sync)]| Ok(tx.query(statement, parameters).await?);
    let (messages, marks, unread, changes) = try_join4(
        query(&messages, &[&ids, &low, &high]),
        query(&marks, &[&small]),
        query(&unread, &[&user.0, &ids, &seen]),
        changes::read(tx, wanted),
    )
    .await?;
    let mut found: HashMap<Uuid, Found> = wanted.iter().map(|w| (w.id, Found::beginning(user, &w.head))).collect();
    for row in &messages {
        let message = message_view(row)?;
        found.entry(message.conversation_id.0).or_default().messages.push(message);
    }
    for row in &marks {
        let mark = Mark { user_id: UserId(row.get(1)), read_seq: row.get(2), delivered_seq: row.get(3) };
        found.entry(row.get(0)).or_default().marks.push(mark);
    }
    for row in &unread {
        found.entry(row.get(0)).or_default().unread = row.get(1);
    }
    for (id, changes) in changes {
        found.entry(id).or_default().changes = changes;
    }
    Ok(found)
}

impl Found {
    /// In a large conversation nobody hears of anybody's marks but his own.
    fn beginning(user_id: UserId, head: &Head) -> Self {
        let own = Mark { user_id, read_seq: head.read_seq, delivered_seq: head.delivered_seq };
        Self { marks: if head.marks_of_all { vec![] } else { vec![own] }, ..Self::default() }
    }
}
