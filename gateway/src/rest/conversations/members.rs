//! `/conversations/{id}/members`: who is in it, and as what.

use crate::{
    requests::{AddMembers, ListMembers, RemoveMember, SetRole},
    rest::{Answer, Ids, Input, Params, ask::Ask},
};
use serde_json::value::RawValue;
use shared::domain::{ConversationId, UserId};

pub async fn list(ask: Ask, Ids(id): Ids<ConversationId>, Params(params): Params<ListMembers>) -> Answer {
    ask.conversation(id).params(params).await
}

pub async fn add(ask: Ask, Ids(id): Ids<ConversationId>, Input(body): Input<Box<RawValue>>) -> Answer {
    ask.conversation(id).body::<AddMembers>(&body).await
}

pub async fn update(
    ask: Ask,
    Ids((id, member)): Ids<(ConversationId, UserId)>,
    Input(body): Input<Box<RawValue>>,
) -> Answer {
    ask.conversation(id).member(member).body::<SetRole>(&body).await
}

pub async fn remove(ask: Ask, Ids((id, member)): Ids<(ConversationId, UserId)>) -> Answer {
    ask.conversation(id).member(member).params(RemoveMember::default()).await
}
