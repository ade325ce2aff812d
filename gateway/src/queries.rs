//! What is only read: answered here, from PostgreSQL, with the same JSON over REST and sockets. The queries themselves
//! decide who may see what; here an answer gets its form and its size.
//!
//! Bounds: no answer is larger than a page of `sync`, so that it fits an outbox; of catching up, which everybody does at
//! once after a gateway was lost, a few run at a time and the others wait in line.

mod page;
mod syncs;

use crate::{
    refusal,
    requests::{after_conversation, after_user},
    rest::Page,
};
use bytes::Bytes;
use page::{History, kept, raws};
use shared::{
    domain::{ConversationId, MessageId, UserId},
    reply::Refusal,
    store::{Store, conversations::ListedAt, messages::Window, sync::SyncRequest},
    view,
};
use syncs::Syncs;

#[derive(Debug)]
pub enum Query {
    ListMessages { conversation: ConversationId, window: Window, limit: usize },
    GetMessage { message: MessageId, conversation: Option<ConversationId> },
    ListReceipts { message: MessageId, after: Option<UserId>, limit: usize },
    ListConversations { after: Option<ListedAt>, limit: usize },
    GetConversation { conversation: ConversationId },
    ListMembers { conversation: ConversationId, after: Option<UserId>, limit: usize },
    Sync(SyncRequest),
}

pub struct Queries {
    store: Store,
    syncs: Syncs,
}

impl Queries {
    pub fn new(store: Store) -> Self {
        Self { syncs: Syncs::new(store.clone()), store }
    }

    /// The answer's JSON.
    pub async fn answer(&self, user: UserId, query: Query) -> Result<Bytes, Refusal> {
        let answer = match query {
            Query::ListMessages { conversation, window, limit } => {
                let page = self.store.list_messages(user, conversation, window, limit).await;
                page.map(|page| view::json(&History::of(page, window)))
            }
            Query::GetMessage { message, conversation } => {
                self.store.get_message(user, message, conversation).await.map(|message| view::json(&message))
            }
            Query::ListReceipts { message, after, limit } => {
                let receipts = self.store.list_receipts(user, message, after, limit).await;
                receipts.map(|items| view::json(&people(items, limit, |receipt| receipt.user_id)))
            }
            Query::ListConversations { after, limit } => return self.list_conversations(user, after, limit).await,
            Query::GetConversation { conversation } => {
                self.store.get_conversation(user, conversation).await.map(|conversation| view::json(&conversation))
            }
            Query::ListMembers { conversation, after, limit } => {
                let members = self.store.list_members(user, conversation, after, limit).await;
                members.map(|items| view::json(&people(items, limit, |member| member.user.id)))
            }
            Query::Sync(request) => return self.syncs.answer(user, request).await,
        };
        answer.map_err(refusal::of_store)
    }

    async fn list_conversations(&self, user: UserId, after: Option<ListedAt>, limit: usize) -> Result<Bytes, Refusal> {
        let list = self.store.list_conversations(user, after, limit).await.map_err(refusal::of_store)?;
        let mut items = raws(&list.items);
        let kept = kept(&items, 0);
        let more = list.more || kept.end < items.len();
        items.truncate(kept.end);
        let last = kept.end.checked_sub(1).and_then(|last| list.items.get(last)).filter(|_| more);
        let next = last.map(|view| after_conversation(ListedAt::of(view)));
        Ok(view::json(&Page { items, next }))
    }
}

/// A page of people, which goes on where it is full.
fn people<T>(items: Vec<T>, limit: usize, id: impl Fn(&T) -> UserId) -> Page<T> {
    let next = items.last().filter(|_| items.len() == limit).map(|item| after_user(id(item)));
    Page { items, next }
}
