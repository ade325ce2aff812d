//! Who an event of a conversation goes to: its members with the version of the list, read in one statement so that a
//! list is never kept under another list's version.

use super::{Result, Store};
use crate::domain::{ConversationId, Place, UserId};
use uuid::Uuid;

#[derive(Clone, Debug)]
pub struct Audience {
    pub version: i64,
    /// For those who take a list without knowing its version: it serves them for a few seconds.
    pub read_at: std::time::Instant,
    /// By id, each with the place at which he joined: he gets what is placed after it.
    pub members: Vec<(UserId, Place)>,
}

impl Store {
    /// For each of these conversations that exists.
    pub async fn list_audiences(&self, conversations: &[ConversationId]) -> Result<Vec<(ConversationId, Audience)>> {
        let ids: Vec<Uuid> = conversations.iter().map(|id| id.0).collect();
        let client = self.client().await?;
        let statement = client
            .prepare_cached(
                "SELECT c.id, c.member_version, array_agg(m.user_id ORDER BY m.user_id) FILTER (WHERE m.user_id IS NOT NULL),
                        array_agg(m.joined_place ORDER BY m.user_id) FILTER (WHERE m.user_id IS NOT NULL)
                 FROM conversations c LEFT JOIN members m ON m.conversation_id = c.id WHERE c.id = ANY($1) GROUP BY c.id",
            )
            .await?;
        let read_at = crate::clock::monotonic();
        let rows = client.query(&statement, &[&ids]).await?;
        Ok(rows
            .iter()
            .map(|row| {
                let users: Vec<Uuid> = row.get::<_, Option<Vec<Uuid>>>(2).unwrap_or_default();
                let places: Vec<i64> = row.get::<_, Option<Vec<i64>>>(3).unwrap_or_default();
                let members = users.into_iter().zip(places).map(|(user, place)| (UserId(user), Place(place))).collect();
                (ConversationId(row.get(0)), Audience { version: row.get(1), read_at, members })
            })
            .collect())
    }
}
