//! People, conversations and what happens in them, written as a worker writes it: each step one transaction that moves
//! the heads, the log of changes and the streams of those it concerns.

use serde_json::{Value, json};
use shared::{
    domain::{ConversationId, MessageId, UserId},
    store::Store,
    testing::TestDatabase,
};
use tokio_postgres::{Client, NoTls, types::ToSql};
use uuid::Uuid;

pub struct World {
    pub database: TestDatabase,
    pub sql: Client,
}

type Params<'a> = &'a [&'a (dyn ToSql + Sync)];

impl World {
    pub async fn create() -> Self {
        let database = TestDatabase::create().await;
        let (sql, connection) =
            tokio_postgres::connect(database.config.store.url.expose(), NoTls).await.expect("a connection");
        tokio::spawn(connection);
        Self { database, sql }
    }

    pub fn store(&self) -> &Store {
        &self.database.store
    }

    async fn run(&self, sql: &str, params: Params<'_>) -> u64 {
        self.sql.execute(sql, params).await.expect("this statement is right")
    }

    pub async fn number(&self, sql: &str, params: Params<'_>) -> i64 {
        self.sql.query_one(sql, params).await.expect("this statement is right").get(0)
    }

    pub async fn user(&self, name: &str) -> UserId {
        let id = UserId::new();
        let key = format!("{name}-{}", id.0.simple());
        self.run(
            "INSERT INTO users (id, username, username_key, email, email_key, password_hash, display_name)
             VALUES ($1, $2, $2, $2, $2, 'x', $3)",
            &[&id.0, &key, &name],
        )
        .await;
        id
    }

    /// A group that everybody named is in from the beginning, the first as its owner.
    pub async fn group(&self, title: &str, people: &[UserId]) -> ConversationId {
        let id = ConversationId::new();
        self.run(
            "INSERT INTO conversations (id, kind, title, created_by, member_count) VALUES ($1, 'group', $2, $3, $4)",
            &[&id.0, &title, &people[0].0, &(people.len() as i32)],
        )
        .await;
        for (at, user) in people.iter().enumerate() {
            let role = if at == 0 { "owner" } else { "member" };
            self.run(
                "INSERT INTO members (conversation_id, user_id, role) VALUES ($1, $2, $3)",
                &[&id.0, &user.0, &role],
            )
            .await;
            self.user_change(*user, "conversation.created", id).await;
        }
        id
    }

    pub async fn direct(&self, a: UserId, b: UserId) -> ConversationId {
        let id = ConversationId::direct(a, b);
        let sql = "INSERT INTO conversations (id, kind, created_by, member_count) VALUES ($1, 'direct', $2, 2)";
        self.run(sql, &[&id.0, &a.0]).await;
        for user in [a, b] {
            self.run("INSERT INTO members (conversation_id, user_id) VALUES ($1, $2)", &[&id.0, &user.0]).await;
            self.user_change(user, "conversation.created", id).await;
        }
        id
    }

    pub async fn send(&self, id: ConversationId, sender: UserId, body: &str) -> i64 {
        self.send_kind(id, sender, "text", body, None).await
    }

    pub async fn send_kind(
        &self,
        id: ConversationId,
        sender: UserId,
        kind: &str,
        body: &str,
        extra: Option<Value>,
    ) -> i64 {
        let (message, digest) = (MessageId::new(), vec![0_u8; 16]);
        self.number(
            "WITH head AS (UPDATE conversations SET last_seq = last_seq + 1, changed_at = clock_timestamp()
                           WHERE id = $1 RETURNING last_seq, last_rev)
             INSERT INTO messages (conversation_id, seq, id, sender_id, kind, body, extra, digest, rev, created_at)
             SELECT $1, last_seq, $2, $3, $4, $5, $6, $7, last_rev, clock_timestamp() FROM head RETURNING seq",
            &[&id.0, &message.0, &sender.0, &kind, &body, &extra, &digest],
        )
        .await
    }

    pub async fn message_id(&self, id: ConversationId, seq: i64) -> MessageId {
        let sql = "SELECT id FROM messages WHERE conversation_id = $1 AND seq = $2";
        MessageId(self.sql.query_one(sql, &[&id.0, &seq]).await.expect("a message").get(0))
    }

    /// Takes the next `rev`, and returns it.
    pub async fn change(&self, id: ConversationId, kind: &str, actor: UserId, about: Option<i64>, data: Value) -> i64 {
        self.number(
            "WITH head AS (UPDATE conversations SET last_rev = last_rev + 1, changed_at = clock_timestamp()
                           WHERE id = $1 RETURNING last_rev, last_seq)
             INSERT INTO changes (conversation_id, rev, after_seq, kind, actor_id, seq, data, at)
             SELECT $1, last_rev, last_seq, $2, $3, $4, $5, clock_timestamp() FROM head RETURNING rev",
            &[&id.0, &kind, &actor.0, &about, &data],
        )
        .await
    }

    pub async fn edit(&self, id: ConversationId, seq: i64, body: &str) {
        let message = self.message_id(id, seq).await;
        let rev = self.change(id, "message.edited", UserId::new(), Some(seq), json!({ "message_id": message })).await;
        self.run(
            "UPDATE messages SET body = $3, rev = $4, edited_at = clock_timestamp() WHERE conversation_id = $1 AND seq = $2",
            &[&id.0, &seq, &body, &rev],
        )
        .await;
    }

    pub async fn delete(&self, id: ConversationId, seq: i64) {
        let message = self.message_id(id, seq).await;
        let rev = self.change(id, "message.deleted", UserId::new(), Some(seq), json!({ "message_id": message })).await;
        self.run(
            "UPDATE messages SET body = '', extra = NULL, digest = NULL, rev = $3, deleted_at = clock_timestamp()
             WHERE conversation_id = $1 AND seq = $2",
            &[&id.0, &seq, &rev],
        )
        .await;
    }

    pub async fn rename(&self, id: ConversationId, actor: UserId, title: &str) {
        self.run("UPDATE conversations SET title = $2 WHERE id = $1", &[&id.0, &title]).await;
        let data = json!({ "actor_id": actor, "title": title, "description": null });
        self.change(id, "conversation.updated", actor, None, data).await;
    }

    /// Rising only, as marks do.
    pub async fn mark(&self, id: ConversationId, user: UserId, read: i64, delivered: i64) {
        self.run(
            "UPDATE members SET read_seq = greatest(read_seq, $3), delivered_seq = greatest(delivered_seq, $3, $4)
             WHERE conversation_id = $1 AND user_id = $2",
            &[&id.0, &user.0, &read, &delivered],
        )
        .await;
    }

    /// `whole`: the new one may read what was said before.
    pub async fn add(&self, id: ConversationId, actor: UserId, user: UserId, whole: bool) {
        let data = json!({ "actor_id": actor, "user_ids": [user] });
        self.change(id, "member.added", actor, None, data).await;
        self.run(
            "INSERT INTO members (conversation_id, user_id, from_seq, joined_place, read_seq, delivered_seq)
             SELECT id, $2, CASE WHEN $3 THEN 0 ELSE last_seq END, last_seq + last_rev, last_seq, last_seq
             FROM conversations WHERE id = $1",
            &[&id.0, &user.0, &whole],
        )
        .await;
        self.run("UPDATE conversations SET member_count = member_count + 1 WHERE id = $1", &[&id.0]).await;
        self.user_change(user, "conversation.created", id).await;
    }

    pub async fn remove(&self, id: ConversationId, actor: UserId, user: UserId) {
        self.run("DELETE FROM members WHERE conversation_id = $1 AND user_id = $2", &[&id.0, &user.0]).await;
        self.run("UPDATE conversations SET member_count = member_count - 1 WHERE id = $1", &[&id.0]).await;
        let count = self.number("SELECT member_count::bigint FROM conversations WHERE id = $1", &[&id.0]).await;
        let data = json!({ "actor_id": actor, "user_id": user, "member_count": count });
        self.change(id, "member.removed", actor, None, data).await;
        self.user_change(user, "conversation.deleted", id).await;
    }

    pub async fn set_role(&self, id: ConversationId, actor: UserId, user: UserId, role: &str) {
        let sql = "UPDATE members SET role = $3 WHERE conversation_id = $1 AND user_id = $2";
        self.run(sql, &[&id.0, &user.0, &role]).await;
        let data = json!({ "actor_id": actor, "user_id": user, "role": role });
        self.change(id, "member.updated", actor, None, data).await;
    }

    pub async fn close(&self, id: ConversationId, actor: UserId) {
        self.run("UPDATE conversations SET closed_at = clock_timestamp() WHERE id = $1", &[&id.0]).await;
        self.change(id, "conversation.deleted", actor, None, json!({ "actor_id": actor })).await;
    }

    pub async fn is_member(&self, id: ConversationId, user: UserId) -> bool {
        let sql = "SELECT count(*) FROM members WHERE conversation_id = $1 AND user_id = $2";
        self.number(sql, &[&id.0, &user.0]).await == 1
    }

    /// Sets what a member may read from, as a group's `history` setting would.
    pub async fn read_from(&self, id: ConversationId, user: UserId, from_seq: i64) {
        let sql = "UPDATE members SET from_seq = $3, joined_place = $3 WHERE conversation_id = $1 AND user_id = $2";
        self.run(sql, &[&id.0, &user.0, &from_seq]).await;
    }

    async fn user_change(&self, user: UserId, kind: &str, id: ConversationId) {
        self.run(
            "WITH head AS (INSERT INTO user_streams (user_id, last_urev) VALUES ($1, 1)
                           ON CONFLICT (user_id) DO UPDATE SET last_urev = user_streams.last_urev + 1 RETURNING last_urev)
             INSERT INTO user_changes (user_id, urev, kind, conversation_id, data) SELECT $1, last_urev, $2, $3, '{}' FROM head",
            &[&user.0, &kind, &id.0],
        )
        .await;
    }

    /// Throws away the old end of a person's stream, as is done after thirty days.
    pub async fn forget_user_changes(&self, user: UserId, up_to: i64) {
        self.run("DELETE FROM user_changes WHERE user_id = $1 AND urev <= $2", &[&user.0, &up_to]).await;
    }

    /// Many messages at once: `senders` in turn.
    pub async fn fill(&self, id: ConversationId, senders: &[UserId], count: i64) {
        let senders: Vec<Uuid> = senders.iter().map(|user| user.0).collect();
        self.run(
            "INSERT INTO messages (conversation_id, seq, id, sender_id, kind, body, digest, rev, created_at)
             SELECT $1, last_seq + n, gen_random_uuid(), ($2::uuid[])[1 + n % cardinality($2::uuid[])], 'text', 'message ' || n, '', last_rev,
                    clock_timestamp() FROM conversations, generate_series(1, $3::bigint) n WHERE id = $1",
            &[&id.0, &senders, &count],
        )
        .await;
        self.run("UPDATE conversations SET last_seq = last_seq + $2 WHERE id = $1", &[&id.0, &count]).await;
    }
}
