//! Conversations as one member sees them: the list by latest activity, one by id, each with the last message he may
//! see, his unread count, his own settings and the first members.

use super::{
    Result, Store, StoreError,
    members::list_first_members,
    rows::{MESSAGE_COLUMNS, message_view},
};
use crate::{
    domain::{ConversationId, ConversationKind, Role, UNREAD_COUNTED_MAX, UserId},
    view::{ConversationView, MeView},
};
use chrono::{DateTime, Utc};
use deadpool_postgres::{GenericClient, Transaction};
use serde_json::value::RawValue;
use tokio_postgres::{IsolationLevel, Row};
use uuid::Uuid;

/// A conversation's place in the list: what the next page begins after.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ListedAt {
    pub changed_at: DateTime<Utc>,
    pub id: ConversationId,
}

impl ListedAt {
    pub fn of(view: &ConversationView) -> Self {
        Self { changed_at: view.updated_at, id: view.id }
    }
}

/// A page of the list, and whether there is more after its last item.
#[derive(Debug)]
pub struct ConversationList {
    pub items: Vec<ConversationView>,
    pub more: bool,
}

/// The reader's conversations; $1 is the reader. Everything below is joined to this and to nothing else.
const MINE: &str = "SELECT v.*, me.role, me.from_seq, me.read_seq, me.delivered_seq, me.marked_unread, me.pinned, me.muted_until,
    me.archived, greatest(me.read_seq, me.from_seq) AS seen_seq
    FROM members me JOIN conversations v ON v.id = me.conversation_id AND v.closed_at IS NULL WHERE me.user_id = $1";

/// Undeleted messages of others after `p.seen_seq`, what people said, not what the server said; counted to a hundred by a
/// scan of the primary key that stops there.
pub(super) fn unread_sql() -> String {
    format!(
        "(SELECT count(*) FROM (SELECT FROM messages n WHERE n.conversation_id = p.id AND n.seq > p.seen_seq
            AND n.sender_id <> $1 AND n.kind <> 'system' AND n.deleted_at IS NULL LIMIT {UNREAD_COUNTED_MAX}) counted)"
    )
}

/// The columns of a view from `p`, rows of [`MINE`].
fn view_sql(page: &str) -> String {
    format!(
        "SELECT p.id AS c_id, p.kind AS c_kind, p.title, p.description, p.avatar AS c_avatar, p.visibility, p.settings::text,
            p.member_count, p.last_seq, p.last_rev, p.created_at AS c_created_at, p.changed_at, p.role, p.read_seq,
            p.delivered_seq, p.marked_unread, p.pinned, p.muted_until, p.archived, {} AS unread, {MESSAGE_COLUMNS}
         FROM ({page}) p
         LEFT JOIN messages m ON m.conversation_id = p.id AND m.seq = p.last_seq AND m.seq > p.from_seq",
        unread_sql()
    )
}

/// The statement of a page of the list. There is no index on `changed_at`, so that updates of a conversation stay cheap:
/// one person's own conversations are sorted.
pub fn list_sql() -> String {
    let page = format!(
        "{MINE} AND ($2::timestamptz IS NULL OR (v.changed_at, v.id) < ($2, $3::uuid))
         ORDER BY v.changed_at DESC, v.id DESC LIMIT $4"
    );
    format!("{} ORDER BY p.changed_at DESC, p.id DESC", view_sql(&page))
}

fn conversation_view(row: &Row) -> Result<ConversationView> {
    let settings: String = row.get("settings");
    let last_message = row.get::<_, Option<Uuid>>("m_id").map(|_| message_view(row)).transpose()?;
    Ok(ConversationView {
        id: ConversationId(row.get("c_id")),
        kind: ConversationKind::parse(row.get("c_kind"))
            .ok_or_else(|| StoreError::Broken("conversations.kind is none that is known".into()))?,
        title: row.get("title"),
        description: row.get("description"),
        avatar: row.get("c_avatar"),
        visibility: row.get("visibility"),
        settings: RawValue::from_string(settings)
            .map_err(|error| StoreError::Broken(format!("conversations.settings: {error}")))?,
        member_count: row.get("member_count"),
        seq: row.get("last_seq"),
        rev: row.get("last_rev"),
        created_at: row.get("c_created_at"),
        updated_at: row.get("changed_at"),
        last_message,
        unread: Some(row.get("unread")),
        me: Some(MeView {
            role: Role::parse(row.get("role")).unwrap_or(Role::Member),
            read_seq: row.get("read_seq"),
            delivered_seq: row.get("delivered_seq"),
            marked_unread: row.get("marked_unread"),
            pinned: row.get("pinned"),
            muted_until: row.get("muted_until"),
            archived: row.get("archived"),
        }),
        members: None,
    })
}

/// Those of `conversations` that `user` is a member of, in no particular order.
pub(super) async fn list_views<C: GenericClient>(
    client: &C,
    user: UserId,
    conversations: &[Uuid],
) -> Result<Vec<ConversationView>> {
    if conversations.is_empty() {
        return Ok(vec![]);
    }
    let statement = client.prepare_cached(&view_sql(&format!("{MINE} AND v.id = ANY($2)"))).await?;
    let rows = client.query(&statement, &[&user.0, &conversations]).await?;
    with_members(client, rows.iter().map(conversation_view).collect::<Result<_>>()?).await
}

async fn with_members<C: GenericClient>(client: &C, mut views: Vec<ConversationView>) -> Result<Vec<ConversationView>> {
    let ids: Vec<Uuid> = views.iter().map(|view| view.id.0).collect();
    let mut members = list_first_members(client, &ids).await?;
    for view in &mut views {
        view.members = Some(members.remove(&view.id.0).unwrap_or_default());
    }
    Ok(views)
}

/// Several statements that see the same moment. It only reads: dropping it is as good as committing it.
pub(super) async fn snapshot(client: &mut deadpool_postgres::Object) -> Result<Transaction<'_>> {
    let transaction = client.build_transaction().isolation_level(IsolationLevel::RepeatableRead).read_only(true);
    Ok(transaction.start().await?)
}

impl Store {
    /// The user's conversations, latest activity first, at most `limit` of those after `after`.
    pub async fn list_conversations(
        &self,
        user: UserId,
        after: Option<ListedAt>,
        limit: usize,
    ) -> Result<ConversationList> {
        let mut client = self.client().await?;
        let tx = snapshot(&mut client).await?;
        let statement = tx.prepare_cached(&list_sql()).await?;
        let (changed_at, id) = (after.map(|at| at.changed_at), after.map(|at| at.id.0));
        // One more than asked tells whether there is more.
        let rows = tx.query(&statement, &[&user.0, &changed_at, &id, &(limit as i64 + 1)]).await?;
        let more = rows.len() > limit;
        let items = rows.iter().take(limit).map(conversation_view).collect::<Result<Vec<_>>>()?;
        Ok(ConversationList { items: with_members(&tx, items).await?, more })
    }

    pub async fn get_conversation(&self, user: UserId, conversation: ConversationId) -> Result<ConversationView> {
        let mut client = self.client().await?;
        let tx = snapshot(&mut client).await?;
        list_views(&tx, user, &[conversation.0]).await?.pop().ok_or(StoreError::NotFound)
    }
}
