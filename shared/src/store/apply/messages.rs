//! Messages within a command's transaction: found, edited, emptied.

use super::ApplyTx;
use crate::{
    domain::{ConversationId, MessageId, MessageKind, UserId},
    store::{
        Result,
        rows::{MESSAGE_COLUMNS, message_kind, message_view},
    },
    view::MessageView,
};
use chrono::{DateTime, Utc};

/// A message under the conversation's lock.
#[derive(Clone, Debug)]
pub struct MessageRow {
    pub seq: i64,
    pub sender: UserId,
    pub kind: MessageKind,
    pub body: String,
    pub deleted: bool,
}

impl ApplyTx<'_> {
    /// The message, if it is of this conversation: a pair that does not match finds nothing.
    pub async fn lock_message(&self, conversation: ConversationId, id: MessageId) -> Result<Option<MessageRow>> {
        let row = self
            .tx
            .query_opt(
                "SELECT seq, sender_id, kind, body, deleted_at IS NOT NULL FROM messages
                 WHERE id = $2 AND conversation_id = $1 FOR NO KEY UPDATE",
                &[&conversation.0, &id.0],
            )
            .await?;
        Ok(row.map(|row| MessageRow {
            seq: row.get(0),
            sender: UserId(row.get(1)),
            kind: message_kind(row.get(2)),
            body: row.get(3),
            deleted: row.get(4),
        }))
    }

    /// Gives the message its new text and keeps the earlier one.
    pub async fn update_message(
        &self,
        conversation: ConversationId,
        id: MessageId,
        seq: i64,
        body: &str,
        rev: i64,
        at: DateTime<Utc>,
    ) -> Result<()> {
        self.tx
            .execute(
                "INSERT INTO edits (message_id, rev, body, edited_at)
                 SELECT id, $3, body, $4 FROM messages WHERE conversation_id = $1 AND seq = $2",
                &[&conversation.0, &seq, &rev, &at],
            )
            .await?;
        self.tx
            .execute(
                "UPDATE messages SET body = $4, rev = $5, edited_at = $6 WHERE conversation_id = $1 AND seq = $2 AND id = $3",
                &[&conversation.0, &seq, &id.0, &body, &rev, &at],
            )
            .await?;
        Ok(())
    }

    /// Leaves a tombstone: body, extras, digest and every earlier text are gone.
    pub async fn delete_message(
        &self,
        conversation: ConversationId,
        id: MessageId,
        seq: i64,
        rev: i64,
        at: DateTime<Utc>,
    ) -> Result<()> {
        self.tx.execute("DELETE FROM edits WHERE message_id = $1", &[&id.0]).await?;
        self.tx
            .execute(
                "UPDATE messages SET body = '', extra = NULL, digest = NULL, rev = $3, deleted_at = $4 WHERE conversation_id = $1 AND seq = $2",
                &[&conversation.0, &seq, &rev, &at],
            )
            .await?;
        Ok(())
    }

    pub async fn get_message_view(&self, conversation: ConversationId, seq: i64) -> Result<MessageView> {
        let sql = format!("SELECT {MESSAGE_COLUMNS} FROM messages m WHERE m.conversation_id = $1 AND m.seq = $2");
        message_view(&self.tx.query_one(&sql, &[&conversation.0, &seq]).await?)
    }
}
