//! Members within a command's transaction: who acts, who comes, who goes.

use super::ApplyTx;
use crate::{
    domain::{ConversationId, Place, Role, UserId},
    store::{
        Result,
        rows::{USER_COLUMNS, user_view},
    },
    view::MemberView,
};
use uuid::Uuid;

/// The actor's membership, read under the conversation's lock.
#[derive(Clone, Copy, Debug)]
pub struct ActorRow {
    pub role: Role,
    pub from_seq: i64,
}

#[derive(Clone, Copy, Debug)]
pub struct RemovedMember {
    pub role: Role,
}

fn role(text: &str) -> Role {
    Role::parse(text).unwrap_or(Role::Member)
}

impl ApplyTx<'_> {
    pub async fn get_member(&self, conversation: ConversationId, user: UserId) -> Result<Option<ActorRow>> {
        let sql = "SELECT role, from_seq FROM members WHERE conversation_id = $1 AND user_id = $2";
        let row = self.tx.query_opt(sql, &[&conversation.0, &user.0]).await?;
        Ok(row.map(|row| ActorRow { role: role(row.get(0)), from_seq: row.get(1) }))
    }

    pub async fn list_member_ids(&self, conversation: ConversationId) -> Result<Vec<UserId>> {
        let sql = "SELECT user_id FROM members WHERE conversation_id = $1 ORDER BY user_id";
        Ok(self.tx.query(sql, &[&conversation.0]).await?.iter().map(|row| UserId(row.get(0))).collect())
    }

    /// Which of these people there are, able to log in.
    pub async fn list_users(&self, users: &[UserId]) -> Result<Vec<UserId>> {
        let ids: Vec<Uuid> = users.iter().map(|user| user.0).collect();
        let sql = "SELECT id FROM users WHERE id = ANY($1) AND disabled_at IS NULL ORDER BY id";
        Ok(self.tx.query(sql, &[&ids]).await?.iter().map(|row| UserId(row.get(0))).collect())
    }

    /// Adds those who are not members yet, in id order; both marks at the last message, so that nothing is unread.
    /// `joined` is the place of their joining: they get what is placed after it.
    pub async fn insert_members(
        &self,
        conversation: ConversationId,
        users: &[UserId],
        role: Role,
        last_seq: i64,
        joined: Place,
    ) -> Result<Vec<UserId>> {
        let ids: Vec<Uuid> = users.iter().map(|user| user.0).collect();
        let rows = self
            .tx
            .query(
                "INSERT INTO members (conversation_id, user_id, role, joined_place, read_seq, delivered_seq)
                 SELECT $1, id, $3, $4, $5, $5 FROM unnest($2::uuid[]) AS t(id) ORDER BY id
                 ON CONFLICT DO NOTHING RETURNING user_id",
                &[&conversation.0, &ids, &role.as_str(), &joined.0, &last_seq],
            )
            .await?;
        Ok(rows.iter().map(|row| UserId(row.get(0))).collect())
    }

    pub async fn delete_member(&self, conversation: ConversationId, user: UserId) -> Result<Option<RemovedMember>> {
        let sql = "DELETE FROM members WHERE conversation_id = $1 AND user_id = $2 RETURNING role";
        let row = self.tx.query_opt(sql, &[&conversation.0, &user.0]).await?;
        Ok(row.map(|row| RemovedMember { role: role(row.get(0)) }))
    }

    pub async fn update_role(&self, conversation: ConversationId, user: UserId, to: Role) -> Result<()> {
        let sql = "UPDATE members SET role = $3 WHERE conversation_id = $1 AND user_id = $2";
        self.tx.execute(sql, &[&conversation.0, &user.0, &to.as_str()]).await?;
        Ok(())
    }

    /// The member who comes next in line for a role: highest role first, then longest there.
    pub async fn get_successor(&self, conversation: ConversationId) -> Result<Option<(UserId, Role)>> {
        let row = self
            .tx
            .query_opt(
                "SELECT user_id, role FROM members WHERE conversation_id = $1
                 ORDER BY array_position(ARRAY['owner', 'admin', 'moderator', 'member'], role), joined_at, user_id LIMIT 1",
                &[&conversation.0],
            )
            .await?;
        Ok(row.map(|row| (UserId(row.get(0)), role(row.get(1)))))
    }

    /// Members as clients see them, in id order: all of `users`, or the first ten.
    pub async fn list_member_views(
        &self,
        conversation: ConversationId,
        users: Option<&[UserId]>,
    ) -> Result<Vec<MemberView>> {
        let ids: Option<Vec<Uuid>> = users.map(|users| users.iter().map(|user| user.0).collect());
        let rows = self
            .tx
            .query(
                &format!(
                    "SELECT {}, m.role, m.read_seq, m.delivered_seq, m.joined_at FROM members m JOIN users u ON u.id = m.user_id
                     WHERE m.conversation_id = $1 AND ($2::uuid[] IS NULL OR m.user_id = ANY($2))
                     ORDER BY m.user_id LIMIT CASE WHEN $2::uuid[] IS NULL THEN 10 END",
                    USER_COLUMNS
                ),
                &[&conversation.0, &ids],
            )
            .await?;
        Ok(rows
            .iter()
            .map(|row| MemberView {
                user: user_view(row),
                role: role(row.get("role")),
                read_seq: row.get("read_seq"),
                delivered_seq: row.get("delivered_seq"),
                joined_at: row.get("joined_at"),
            })
            .collect())
    }
}
