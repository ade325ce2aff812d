//! The two logs of changes, the replies kept for late copies, and the outbox row: what every applied command writes.

use super::ApplyTx;
use crate::{
    domain::{ConversationId, UserId},
    event::{DurableEvent, EventName},
    reply::Refusal,
    store::{Result, StoreError},
};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value, value::RawValue};
use uuid::Uuid;

/// Where a change came to stand.
#[derive(Clone, Copy, Debug)]
pub struct Changed {
    pub rev: i64,
    /// The conversation's `last_seq` at that moment: `rev + seq` is the change's place.
    pub seq: i64,
    pub member_version: i64,
    pub at: DateTime<Utc>,
}

/// What `executed` keeps: the answer a command got. Of a message only where it stands, so that a text that is deleted
/// does not survive here: a late copy is answered with the message as it is then.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StoredReply {
    Ok { created: bool, json: Box<RawValue> },
    Message { conversation_id: ConversationId, seq: i64 },
    Refused(Refusal),
}

impl StoredReply {
    pub(super) fn to_value(&self) -> Value {
        serde_json::to_value(self).expect("cannot fail because a reply is JSON already")
    }

    pub(super) fn from_value(value: Value) -> Result<Self> {
        // Through text: a RawValue cannot be read out of a Value.
        serde_json::from_str(&value.to_string()).map_err(|error| StoreError::Broken(format!("executed.reply: {error}")))
    }
}

impl ApplyTx<'_> {
    /// Logs a change that all members may see: takes the next `rev`. `members_changed` raises the list's version.
    pub async fn append_change(
        &self,
        conversation: ConversationId,
        kind: EventName,
        actor: UserId,
        about: Option<i64>,
        data: &Value,
        members_changed: i32,
    ) -> Result<Changed> {
        let row = self
            .tx
            .query_one(
                "WITH head AS (
                     UPDATE conversations SET last_rev = last_rev + 1, changed_at = greatest(clock_timestamp(), changed_at),
                         member_count = member_count + $6, member_version = member_version + $7
                     WHERE id = $1 RETURNING last_rev, last_seq, changed_at, member_version)
                 INSERT INTO changes (conversation_id, rev, after_seq, kind, actor_id, seq, data, at)
                 SELECT $1, last_rev, last_seq, $2, $3, $4, $5, changed_at FROM head
                 RETURNING rev, after_seq, at, (SELECT member_version FROM head)",
                &[
                    &conversation.0, &kind.as_str(), &actor.0, &about, data, &members_changed,
                    &i64::from(matches!(kind, EventName::MemberAdded | EventName::MemberRemoved | EventName::MemberUpdated)),
                ],
            )
            .await?;
        Ok(Changed { rev: row.get(0), seq: row.get(1), at: row.get(2), member_version: row.get(3) })
    }

    /// Logs what concerns each of these people alone; their streams are locked. Returns each one's new `urev`, in order.
    pub async fn append_user_changes(
        &self,
        users: &[UserId],
        kind: &str,
        conversation: Option<ConversationId>,
        data: &Value,
    ) -> Result<Vec<(UserId, i64)>> {
        let ids: Vec<Uuid> = users.iter().map(|user| user.0).collect();
        let rows = self
            .tx
            .query(
                "WITH moved AS (UPDATE user_streams SET last_urev = last_urev + 1 WHERE user_id = ANY($1) RETURNING user_id, last_urev)
                 INSERT INTO user_changes (user_id, urev, kind, conversation_id, data)
                 SELECT user_id, last_urev, $2, $3, $4 FROM moved RETURNING user_id, urev",
                &[&ids, &kind, &conversation.map(|id| id.0), data],
            )
            .await?;
        Ok(rows.iter().map(|row| (UserId(row.get(0)), row.get(1))).collect())
    }

    pub async fn insert_outbox(&self, id: Uuid, worker: i64, events: &[DurableEvent]) -> Result<()> {
        let json = serde_json::to_value(events).map_err(|error| StoreError::Broken(error.to_string()))?;
        self.tx.execute("INSERT INTO outbox (id, worker, events) VALUES ($1, $2, $3)", &[&id, &worker, &json]).await?;
        Ok(())
    }
}
