//! `/conversations`: begin, list, change, leave, mark as read.

pub mod members;

use super::{Answer, Ids, Input, Params, ask::Ask};
use crate::requests::{
    CreateConversation, DeleteConversation, GetConversation, LeaveConversation, ListConversations, MarkDelivered,
    MarkRead, UpdateConversation,
};
use serde_json::value::RawValue;
use shared::domain::ConversationId;

type Body = Input<Box<RawValue>>;

/// 201, or 200 where the direct conversation of the two was there.
pub async fn create(ask: Ask, Input(body): Body) -> Answer {
    ask.body::<CreateConversation<'_>>(&body).await
}

pub async fn list(ask: Ask, Params(params): Params<ListConversations>) -> Answer {
    ask.params(params).await
}

pub async fn get(ask: Ask, Ids(id): Ids<ConversationId>) -> Answer {
    ask.conversation(id).params(GetConversation::default()).await
}

pub async fn update(ask: Ask, Ids(id): Ids<ConversationId>, Input(body): Body) -> Answer {
    ask.conversation(id).body::<UpdateConversation<'_>>(&body).await
}

/// Closes it for everybody.
pub async fn delete(ask: Ask, Ids(id): Ids<ConversationId>) -> Answer {
    ask.conversation(id).params(DeleteConversation::default()).await
}

pub async fn leave(ask: Ask, Ids(id): Ids<ConversationId>) -> Answer {
    ask.conversation(id).params(LeaveConversation::default()).await
}

pub async fn read(ask: Ask, Ids(id): Ids<ConversationId>, Input(body): Body) -> Answer {
    ask.conversation(id).body::<MarkRead>(&body).await
}

pub async fn delivered(ask: Ask, Ids(id): Ids<ConversationId>, Input(body): Body) -> Answer {
    ask.conversation(id).body::<MarkDelivered>(&body).await
}
