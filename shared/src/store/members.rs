//! Members as other members see them.

use super::{
    Result, Store, StoreError,
    rows::{USER_COLUMNS, user_view},
};
use crate::{
    domain::{ConversationId, Role, UserId},
    view::MemberView,
};
use deadpool_postgres::GenericClient;
use std::collections::HashMap;
use tokio_postgres::Row;
use uuid::Uuid;

/// Members shown with the conversation itself; `list_members` has all.
pub(super) const MEMBERS_SHOWN: i64 = 10;

pub(super) const MEMBER_COLUMNS: &str = "o.role, o.read_seq, o.delivered_seq, o.joined_at";

pub(super) fn member_view(row: &Row) -> MemberView {
    MemberView {
        user: user_view(row),
        role: Role::parse(row.get("role")).unwrap_or(Role::Member),
        read_seq: row.get("read_seq"),
        delivered_seq: row.get("delivered_seq"),
        joined_at: row.get("joined_at"),
    }
}

/// The first members of each of these conversations, by id. Asks nobody's leave: the caller has found them all to be
/// conversations of the reader, in this same snapshot.
pub(super) async fn list_first_members<C: GenericClient>(
    client: &C,
    conversations: &[Uuid],
) -> Result<HashMap<Uuid, Vec<MemberView>>> {
    let sql = format!(
        "SELECT o.conversation_id, {MEMBER_COLUMNS}, {USER_COLUMNS} FROM unnest($1::uuid[]) AS p(id)
         CROSS JOIN LATERAL (SELECT * FROM members o WHERE o.conversation_id = p.id ORDER BY o.user_id LIMIT $2) o
         JOIN users u ON u.id = o.user_id ORDER BY o.conversation_id, o.user_id"
    );
    let mut members: HashMap<Uuid, Vec<MemberView>> = HashMap::new();
    let statement = client.prepare_cached(&sql).await?;
    for row in client.query(&statement, &[&conversations, &MEMBERS_SHOWN]).await? {
        members.entry(row.get("conversation_id")).or_default().push(member_view(&row));
    }
    Ok(members)
}

impl Store {
    /// Members by id after `after`, for a member.
    pub async fn list_members(
        &self,
        user: UserId,
        conversation: ConversationId,
        after: Option<UserId>,
        limit: usize,
    ) -> Result<Vec<MemberView>> {
        let client = self.client().await?;
        let statement = client
            .prepare_cached(&format!(
                "SELECT {MEMBER_COLUMNS}, {USER_COLUMNS} FROM members me
                 LEFT JOIN LATERAL (SELECT * FROM members o WHERE o.conversation_id = me.conversation_id
                     AND o.user_id > $3 ORDER BY o.user_id LIMIT $4) o ON true
                 LEFT JOIN users u ON u.id = o.user_id
                 WHERE me.conversation_id = $1 AND me.user_id = $2 ORDER BY o.user_id"
            ))
            .await?;
        let after = after.map_or(Uuid::nil(), |user| user.0);
        let rows = client.query(&statement, &[&conversation.0, &user.0, &after, &(limit as i64)]).await?;
        if rows.is_empty() {
            return Err(StoreError::NotFound);
        }
        Ok(rows.iter().filter(|row| row.get::<_, Option<Uuid>>("u_id").is_some()).map(member_view).collect())
    }
}
