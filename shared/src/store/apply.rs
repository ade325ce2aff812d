//! The transaction of every command that is not a send, step by step in the one order of locks: the conversation, the
//! users' streams, then members, then messages. `worker/src/apply/` decides with it what a command does.

mod changes;
mod members;
mod messages;

pub use changes::{Changed, StoredReply};
pub use members::{ActorRow, RemovedMember};
pub use messages::MessageRow;

use super::{
    Result, Session, Store,
    rows::{CONVERSATION_COLUMNS, conversation_view},
};
use crate::{
    domain::{CommandId, ConversationId, ConversationKind, UserId},
    view::ConversationView,
};
use chrono::{DateTime, Utc};
use tokio_postgres::Transaction;
use uuid::Uuid;

/// A connection that applies commands one at a time.
pub struct Applier {
    session: Session,
}

impl Applier {
    pub async fn connect(store: &Store) -> Result<Self> {
        Ok(Self { session: store.session("rookery applier").await? })
    }

    /// Resolves when the connection has ended.
    pub async fn closed(&mut self) {
        self.session.closed().await;
    }

    pub async fn begin(&mut self) -> Result<ApplyTx<'_>> {
        Ok(ApplyTx { tx: self.session.client.transaction().await? })
    }
}

/// A command that was applied: whose it was, what it said, what it was answered.
pub struct Executed {
    pub actor: UserId,
    pub digest: Vec<u8>,
    pub reply: StoredReply,
}

/// One command's transaction. Dropped without [`commit`](Self::commit) it leaves nothing.
pub struct ApplyTx<'a> {
    tx: Transaction<'a>,
}

/// The locked row of a conversation.
#[derive(Clone, Debug)]
pub struct ConversationRow {
    pub id: ConversationId,
    pub kind: ConversationKind,
    pub title: Option<String>,
    pub description: String,
    pub last_seq: i64,
    pub last_rev: i64,
    pub member_count: i32,
    pub member_version: i64,
    pub created_by: UserId,
    pub closed: bool,
}

impl ApplyTx<'_> {
    pub async fn commit(self) -> Result<()> {
        Ok(self.tx.commit().await?)
    }

    /// Locks the conversation's row: from here on its heads and members stand still.
    pub async fn lock_conversation(&self, id: ConversationId) -> Result<Option<ConversationRow>> {
        let row = self
            .tx
            .query_opt(
                "SELECT id, kind, title, description, last_seq, last_rev, member_count, member_version, created_by, closed_at IS NOT NULL
                 FROM conversations WHERE id = $1 FOR NO KEY UPDATE",
                &[&id.0],
            )
            .await?;
        Ok(row.map(|row| ConversationRow {
            id,
            kind: ConversationKind::parse(row.get(1)).unwrap_or(ConversationKind::Group),
            title: row.get(2),
            description: row.get(3),
            last_seq: row.get(4),
            last_rev: row.get(5),
            member_count: row.get(6),
            member_version: row.get(7),
            created_by: UserId(row.get(8)),
            closed: row.get(9),
        }))
    }

    /// False where the conversation is there already (it is then to be locked and looked at).
    pub async fn insert_conversation(
        &self,
        id: ConversationId,
        kind: ConversationKind,
        title: Option<&str>,
        description: &str,
        created_by: UserId,
    ) -> Result<bool> {
        let rows = self
            .tx
            .execute(
                "INSERT INTO conversations (id, kind, title, description, created_by) VALUES ($1, $2, $3, $4, $5)
                 ON CONFLICT (id) DO NOTHING",
                &[&id.0, &kind.as_str(), &title, &description, &created_by.0],
            )
            .await?;
        Ok(rows == 1)
    }

    pub async fn update_conversation(
        &self,
        id: ConversationId,
        title: Option<&str>,
        description: Option<&str>,
    ) -> Result<()> {
        let sql = "UPDATE conversations SET title = coalesce($2, title), description = coalesce($3, description) WHERE id = $1";
        self.tx.execute(sql, &[&id.0, &title, &description]).await?;
        Ok(())
    }

    /// Sets the count from the rows, for a conversation that has just begun.
    pub async fn update_member_count(&self, id: ConversationId) -> Result<()> {
        let sql = "UPDATE conversations SET member_count = (SELECT count(*) FROM members WHERE conversation_id = $1) WHERE id = $1";
        self.tx.execute(sql, &[&id.0]).await?;
        Ok(())
    }

    /// The conversation as all its members see it, with the first ten of them.
    pub async fn get_conversation_view(&self, id: ConversationId) -> Result<ConversationView> {
        let sql = format!("SELECT {CONVERSATION_COLUMNS} FROM conversations c WHERE c.id = $1");
        let mut view = conversation_view(&self.tx.query_one(&sql, &[&id.0]).await?)?;
        view.members = Some(self.list_member_views(id, None).await?);
        Ok(view)
    }

    pub async fn close_conversation(&self, id: ConversationId) -> Result<()> {
        self.tx.execute("UPDATE conversations SET closed_at = clock_timestamp() WHERE id = $1", &[&id.0]).await?;
        Ok(())
    }

    /// Locks the streams of these people, making those that are not there yet. By id: the second step of the one order.
    pub async fn lock_user_streams(&self, users: &[UserId]) -> Result<()> {
        let mut ids: Vec<Uuid> = users.iter().map(|user| user.0).collect();
        ids.sort_unstable();
        ids.dedup();
        self.tx
            .execute("INSERT INTO user_streams (user_id) SELECT unnest($1::uuid[]) ON CONFLICT DO NOTHING", &[&ids])
            .await?;
        self.tx
            .execute("SELECT FROM user_streams WHERE user_id = ANY($1) ORDER BY user_id FOR NO KEY UPDATE", &[&ids])
            .await?;
        Ok(())
    }

    /// The reply that this command was given before, if it was applied.
    pub async fn get_executed(&self, id: CommandId) -> Result<Option<Executed>> {
        let row = self.tx.query_opt("SELECT actor, digest, reply FROM executed WHERE id = $1", &[&id.0]).await?;
        row.map(|row| {
            Ok(Executed { actor: UserId(row.get(0)), digest: row.get(1), reply: StoredReply::from_value(row.get(2))? })
        })
        .transpose()
    }

    pub async fn insert_executed(
        &self,
        id: CommandId,
        actor: UserId,
        digest: &[u8],
        reply: &StoredReply,
    ) -> Result<()> {
        self.tx
            .execute(
                "INSERT INTO executed (id, actor, digest, reply) VALUES ($1, $2, $3, $4)",
                &[&id.0, &actor.0, &digest, &reply.to_value()],
            )
            .await?;
        Ok(())
    }

    /// The clock under the lock: never before what the conversation has already shown.
    pub async fn now(&self, id: ConversationId) -> Result<DateTime<Utc>> {
        let sql = "SELECT greatest(clock_timestamp(), changed_at) FROM conversations WHERE id = $1";
        Ok(self.tx.query_one(sql, &[&id.0]).await?.get(0))
    }
}

impl Store {
    /// Forgets replies of commands that no copy can come of any more. Returns how many.
    pub async fn delete_executed(&self, older_than_seconds: f64) -> Result<u64> {
        let sql = "DELETE FROM executed WHERE at < statement_timestamp() - make_interval(secs => $1)";
        Ok(self.client().await?.execute(sql, &[&older_than_seconds]).await?)
    }

    pub async fn delete_user_changes(&self, older_than_seconds: f64) -> Result<u64> {
        let sql = "DELETE FROM user_changes WHERE at < statement_timestamp() - make_interval(secs => $1)";
        Ok(self.client().await?.execute(sql, &[&older_than_seconds]).await?)
    }
}
