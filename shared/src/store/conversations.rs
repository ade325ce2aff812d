//! Conversations as one member sees them: the list by latest activity, one by id, each with the last message he may
//! see, his unread count, his own settings and the first members.

use super::{
    Result, Store, StoreError,
    members::list_first_members,
    rows::{CONVERSATION_COLUMNS, MESSAGE_COLUMNS, conversation_view, message_view},
};
use crate::{
    domain::{ConversationId, Role, UNREAD_COUNTED_MAX, UserId},
    view::{ConversationView, MeView},
};
use chrono::{DateTime, Utc};
use deadpool_postgres::{GenericClient, Transaction};
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
const MINE: &str =
    "SELECT v.*, me.role, me.from_seq, me.read_seq, me.delivered_seq, me.marked_unread, me.pinned, me.muted_until, me.archived
     FROM members me JOIN conversations v ON v.id = me.conversation_id WHERE me.user_id = $1";

/// Undeleted messages of others in `conversation` after `seen`: what people said, not what the server said, counted to a
/// hundred by a scan of the primary key that stops there. $1 is the reader.
pub(super) fn unread_sql(conversation: &str, seen: &str) -> String {
    format!(
        "(SELECT count(*) FROM (SELECT FROM messages n WHERE n.conversation_id = {conversation} AND n.seq > {seen}
            AND n.sender_id <> $1 AND n.kind <> 'system' AND n.deleted_at IS NULL LIMIT {UNREAD_COUNTED_MAX}) counted)"
    )
}

/// The views of a page of [`MINE`].
fn view_sql(page: &str) -> String {
    format!(
        "SELECT {CONVERSATION_COLUMNS}, c.role, c.read_seq, c.delivered_seq, c.marked_unread, c.pinned, c.muted_until, c.archived,
            {} AS unread, {MESSAGE_COLUMNS}
         FROM ({page}) c
         LEFT JOIN messages m ON m.conversation_id = c.id AND m.seq = c.last_seq AND m.seq > c.from_seq",
        unread_sql("c.id", "greatest(c.read_seq, c.from_seq)")
    )
}

/// The statement of a page of the list. There is no index on `changed_at`, so that updates of a conversation stay cheap:
/// one person's own conversations are sorted. Closed ones are not in the list; they can still be read.
pub fn list_sql() -> String {
    let page = format!(
        "{MINE} AND v.closed_at IS NULL AND ($2::timestamptz IS NULL OR (v.changed_at, v.id) < ($2, $3::uuid))
         ORDER BY v.changed_at DESC, v.id DESC LIMIT $4"
    );
    format!("{} ORDER BY c.changed_at DESC, c.id DESC", view_sql(&page))
}

/// A conversation as its reader sees it.
fn own_view(row: &Row) -> Result<ConversationView> {
    Ok(ConversationView {
        last_message: row.get::<_, Option<Uuid>>("m_id").map(|_| message_view(row)).transpose()?,
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
        ..conversation_view(row)?
    })
}

/// Those of `conversations` that `user` is a member of, in no particular order.
pub(super) async fn list_views<C: GenericClient>(
    client: &C,
    user: UserId,
    conversations: &[Uuid],
    closed_too: bool,
) -> Result<Vec<ConversationView>> {
    if conversations.is_empty() {
        return Ok(vec![]);
    }
    let page = format!("{MINE} AND v.id = ANY($2) AND ($3 OR v.closed_at IS NULL)");
    let statement = client.prepare_cached(&view_sql(&page)).await?;
    let rows = client.query(&statement, &[&user.0, &conversations, &closed_too]).await?;
    with_members(client, rows.iter().map(own_view).collect::<Result<_>>()?).await
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
        let items = rows.iter().take(limit).map(own_view).collect::<Result<Vec<_>>>()?;
        Ok(ConversationList { items: with_members(&tx, items).await?, more })
    }

    pub async fn get_conversation(&self, user: UserId, conversation: ConversationId) -> Result<ConversationView> {
        let mut client = self.client().await?;
        let tx = snapshot(&mut client).await?;
        list_views(&tx, user, &[conversation.0], true).await?.pop().ok_or(StoreError::NotFound)
    }
}
