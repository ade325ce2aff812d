//! `/conversations/{id}/messages` and `/messages/{id}`: say, read, edit, delete, see who has read it.

use super::{Answer, Ids, Input, Params, ask::Ask};
use crate::requests::{DeleteMessage, EditMessage, GetMessage, ListMessages, ListReceipts, SendMessage};
use serde_json::value::RawValue;
use shared::domain::{ConversationId, MessageId};

type Body = Input<Box<RawValue>>;

/// 201, or 200 where this id was stored before: then the message is as it is now.
pub async fn send(ask: Ask, Ids(id): Ids<ConversationId>, Input(body): Body) -> Answer {
    ask.conversation(id).body::<SendMessage<'_>>(&body).await
}

/// History by `seq`: before, after or around one, or the newest.
pub async fn list(ask: Ask, Ids(id): Ids<ConversationId>, Params(params): Params<ListMessages>) -> Answer {
    ask.conversation(id).params(params).await
}

pub async fn get(ask: Ask, Ids(id): Ids<MessageId>) -> Answer {
    ask.message(id).params(GetMessage::default()).await
}

pub async fn edit(ask: Ask, Ids(id): Ids<MessageId>, Input(body): Body) -> Answer {
    ask.message_of_its_conversation(id).await?.body::<EditMessage<'_>>(&body).await
}

pub async fn delete(ask: Ask, Ids(id): Ids<MessageId>, Params(params): Params<DeleteMessage>) -> Answer {
    ask.message_of_its_conversation(id).await?.params(params).await
}

pub async fn receipts(ask: Ask, Ids(id): Ids<MessageId>, Params(params): Params<ListReceipts>) -> Answer {
    ask.message(id).params(params).await
}
