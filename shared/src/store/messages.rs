//! Messages as members read them: history by `seq`, one by id, who has read it. Every statement here begins at the
//! reader's own membership: who is not a member finds nothing, and nobody finds what is not after his `from_seq`.

use super::{
    Result, Store, StoreError,
    rows::{MESSAGE_COLUMNS, message_view},
};
use crate::{
    domain::{ConversationId, MessageId, UserId},
    view::{MessageView, Status},
};
use serde::Serialize;
use tokio_postgres::Row;
use uuid::Uuid;

/// Which messages of a conversation: the newest, or those on one side of, or around, a `seq`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Window {
    Newest,
    Before(i64),
    After(i64),
    Around(i64),
}

/// A part of a conversation's history. Its messages follow one another without a gap.
#[derive(Debug, Serialize)]
pub struct HistoryPage {
    /// Ascending by `seq`.
    pub items: Vec<MessageView>,
    pub first_seq: Option<i64>,
    pub last_seq: Option<i64>,
    pub more_before: bool,
    pub more_after: bool,
}

/// How one member stands to one message.
#[derive(Debug, Serialize)]
pub struct ReceiptView {
    pub user_id: UserId,
    pub status: Status,
}

/// `seq` has no gaps, so a page is a range that can be computed: a plain scan of the primary key between two bounds.
/// $3 is the highest `seq` wanted, or $4 the lowest; $5 how many.
const HISTORY_RANGE: &str = "
FROM members me JOIN conversations v ON v.id = me.conversation_id
CROSS JOIN LATERAL (SELECT
    greatest(me.from_seq + 1, coalesce($4::bigint, least(v.last_seq, $3::bigint) - $5::bigint + 1)) AS lo,
    least(v.last_seq, coalesce($3::bigint, greatest(me.from_seq + 1, $4::bigint) + $5::bigint - 1)) AS hi) w
LEFT JOIN messages m ON m.conversation_id = me.conversation_id AND m.seq BETWEEN w.lo AND w.hi
WHERE me.conversation_id = $1 AND me.user_id = $2
ORDER BY m.seq";

/// Up to where all the others have got.
const OTHERS_MARKS: &str =
    "SELECT min(read_seq), min(delivered_seq) FROM members WHERE conversation_id = $1 AND user_id <> $2";

/// The statement of a history page, for whoever wants to see its plan.
pub fn history_sql() -> String {
    format!("SELECT me.from_seq, v.last_seq AS head, w.lo, w.hi, {MESSAGE_COLUMNS} {HISTORY_RANGE}")
}

/// The lowest marks among the other members; a message up to it is read (or delivered) by all of them.
#[derive(Clone, Copy, Default)]
struct OthersMarks {
    read: i64,
    delivered: i64,
}

impl OthersMarks {
    fn of(row: &Row) -> Self {
        let lowest = |column| row.get::<_, Option<i64>>(column).unwrap_or(0);
        Self { read: lowest(0), delivered: lowest(1) }
    }

    fn status(self, seq: i64) -> Status {
        if seq <= self.read {
            Status::Read
        } else if seq <= self.delivered {
            Status::Delivered
        } else {
            Status::Sent
        }
    }
}

impl Store {
    /// At most `limit` messages that `user` may see.
    pub async fn list_messages(
        &self,
        user: UserId,
        conversation: ConversationId,
        window: Window,
        limit: usize,
    ) -> Result<HistoryPage> {
        let limit = limit as i64;
        // Far beyond any `seq`, and far from where sums overflow.
        let bounded = |seq: i64| seq.clamp(0, 1 << 53);
        let (highest, lowest) = match window {
            Window::Newest => (Some(i64::MAX), None),
            Window::Before(seq) => (Some(bounded(seq) - 1), None),
            Window::After(seq) => (None, Some(bounded(seq) + 1)),
            Window::Around(seq) => (None, Some((bounded(seq) - limit / 2).max(1))),
        };
        let client = self.client().await?;
        let statement = client.prepare_cached(&history_sql()).await?;
        let rows = client.query(&statement, &[&conversation.0, &user.0, &highest, &lowest, &limit]).await?;
        let mut page = history_page(&rows)?;
        if page.items.iter().any(|message| message.sender_id == user) {
            let statement = client.prepare_cached(OTHERS_MARKS).await?;
            let others = OthersMarks::of(&client.query_one(&statement, &[&conversation.0, &user.0]).await?);
            for message in page.items.iter_mut().filter(|message| message.sender_id == user) {
                message.status = Some(others.status(message.seq));
            }
        }
        Ok(page)
    }

    /// One message; `conversation`, where it is named, must be the message's own.
    pub async fn get_message(
        &self,
        user: UserId,
        id: MessageId,
        conversation: Option<ConversationId>,
    ) -> Result<MessageView> {
        let client = self.client().await?;
        let statement = client
            .prepare_cached(&format!(
                "SELECT {MESSAGE_COLUMNS} FROM messages m
                 JOIN members me ON me.conversation_id = m.conversation_id AND me.user_id = $2 AND m.seq > me.from_seq
                 WHERE m.id = $1 AND ($3::uuid IS NULL OR m.conversation_id = $3)"
            ))
            .await?;
        let row = client.query_opt(&statement, &[&id.0, &user.0, &conversation.map(|id| id.0)]).await?;
        let mut message = message_view(&row.ok_or(StoreError::NotFound)?)?;
        if message.sender_id == user {
            let statement = client.prepare_cached(OTHERS_MARKS).await?;
            let others = client.query_one(&statement, &[&message.conversation_id.0, &user.0]).await?;
            message.status = Some(OthersMarks::of(&others).status(message.seq));
        }
        Ok(message)
    }

    /// The conversation of a message that `user` may see: what a REST path that names only the message leaves open.
    pub async fn get_message_conversation(&self, user: UserId, id: MessageId) -> Result<ConversationId> {
        let client = self.client().await?;
        let statement = client
            .prepare_cached(
                "SELECT m.conversation_id FROM messages m
                 JOIN members me ON me.conversation_id = m.conversation_id AND me.user_id = $2 AND m.seq > me.from_seq
                 WHERE m.id = $1",
            )
            .await?;
        let row = client.query_opt(&statement, &[&id.0, &user.0]).await?;
        Ok(ConversationId(row.ok_or(StoreError::NotFound)?.get(0)))
    }

    /// How the members but its sender stand to a message, by member id after `after`.
    pub async fn list_receipts(
        &self,
        user: UserId,
        id: MessageId,
        after: Option<UserId>,
        limit: usize,
    ) -> Result<Vec<ReceiptView>> {
        let client = self.client().await?;
        let statement = client
            .prepare_cached(
                "SELECT m.seq, o.user_id, o.read_seq, o.delivered_seq FROM messages m
                 JOIN members me ON me.conversation_id = m.conversation_id AND me.user_id = $2 AND m.seq > me.from_seq
                 LEFT JOIN LATERAL (SELECT * FROM members o WHERE o.conversation_id = m.conversation_id
                     AND o.user_id <> m.sender_id AND o.user_id > $3 ORDER BY o.user_id LIMIT $4) o ON true
                 WHERE m.id = $1 ORDER BY o.user_id",
            )
            .await?;
        let after = after.map_or(Uuid::nil(), |user| user.0);
        let rows = client.query(&statement, &[&id.0, &user.0, &after, &(limit as i64)]).await?;
        if rows.is_empty() {
            return Err(StoreError::NotFound);
        }
        Ok(rows.iter().filter_map(receipt_view).collect())
    }
}

fn receipt_view(row: &Row) -> Option<ReceiptView> {
    let user_id = UserId(row.get::<_, Option<Uuid>>("user_id")?);
    let marks = OthersMarks { read: row.get("read_seq"), delivered: row.get("delivered_seq") };
    Some(ReceiptView { user_id, status: marks.status(row.get("seq")) })
}

/// No row: not a member. One row without a message: nothing in that range.
fn history_page(rows: &[Row]) -> Result<HistoryPage> {
    let first = rows.first().ok_or(StoreError::NotFound)?;
    let (from, head): (i64, i64) = (first.get("from_seq"), first.get("head"));
    let (low, high): (i64, i64) = (first.get("lo"), first.get("hi"));
    let present = rows.iter().filter(|row| row.get::<_, Option<Uuid>>("m_id").is_some());
    let items = present.map(message_view).collect::<Result<Vec<_>>>()?;
    let (first_seq, last_seq) = (items.first().map(|m| m.seq), items.last().map(|m| m.seq));
    Ok(HistoryPage {
        // Of an empty page the bounds tell on which side of it there is something.
        more_before: first_seq.unwrap_or(low.min(head + 1)) > from + 1,
        more_after: last_seq.unwrap_or(high.max(from)) < head,
        items,
        first_seq,
        last_seq,
    })
}
