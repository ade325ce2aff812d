//! A signed-in person's request on its way: to the batcher where it changes something, to the queries where it reads.
//! Whatever noun it is about, who asks, under which id and what becomes of the answer is the same.

use super::{Answer, Problem, RequestId, json};
use crate::{
    app::App,
    auth::Caller,
    batcher::Submission,
    limits::{Rule, Subject},
    refusal::in_time,
    requests::{self, Given, Input, Request},
};
use axum::{
    body::{Body, Bytes},
    extract::FromRequestParts,
    http::{HeaderMap, StatusCode, request::Parts},
};
use serde::Deserialize;
use serde_json::value::RawValue;
use shared::{
    domain::{CommandId, ConversationId, MessageId, UserId},
    reply::Refusal,
};
use std::sync::Arc;
use uuid::Uuid;

/// The same key again is the same command.
const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// Who asks, and what the path and the headers say.
pub struct Ask {
    app: Arc<App>,
    caller: Caller,
    request_id: RequestId,
    given: Given,
}

impl FromRequestParts<Arc<App>> for Ask {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        let caller = Caller::from_request_parts(parts, app).await?;
        let Ok(request_id) = RequestId::from_request_parts(parts, app).await;
        app.limits.check(Rule::CommandsPerUser, Subject::User(caller.user))?;
        let given = Given { key: key(&parts.headers)?, ..Given::of(caller.user) };
        Ok(Self { app: app.clone(), caller, request_id, given })
    }
}

fn key(headers: &HeaderMap) -> Result<Option<CommandId>, Refusal> {
    let Some(value) = headers.get(IDEMPOTENCY_KEY) else { return Ok(None) };
    // A draft of the header has its value as a quoted string.
    let id = value.to_str().ok().and_then(|text| Uuid::try_parse(text.trim_matches('"')).ok());
    id.map(|id| Some(CommandId(id))).ok_or_else(|| Refusal::field("Idempotency-Key", "must be a UUID"))
}

impl Ask {
    pub fn conversation(mut self, id: ConversationId) -> Self {
        self.given.conversation = Some(id);
        self
    }

    pub fn member(mut self, id: UserId) -> Self {
        self.given.member = Some(id);
        self
    }

    pub fn message(mut self, id: MessageId) -> Self {
        self.given.message = Some(id);
        self
    }

    /// A path that names only the message: commands name its conversation too.
    pub async fn message_of_its_conversation(self, id: MessageId) -> Result<Self, Problem> {
        let conversation = self.app.store.get_message_conversation(self.caller.user, id).await?;
        Ok(self.message(id).conversation(conversation))
    }

    /// With a body that the extractor has read.
    pub async fn body<'a, T: Input<'a>>(self, body: &'a RawValue) -> Answer {
        let request = requests::read::<T>(body.get(), &self.given)?;
        self.answer(request).await
    }

    /// With parameters, or with nothing to say beside the path.
    pub async fn params<'a, T: Input<'a>>(self, params: T) -> Answer {
        let request = params.request(&self.given)?;
        self.answer(request).await
    }

    async fn answer(self, request: Request) -> Answer {
        let Self { app, caller, request_id: RequestId(request_id), .. } = self;
        match request {
            Request::Query(query) => {
                Ok(json(StatusCode::OK, in_time(app.queries.answer(caller.user, query)).await?.into()))
            }
            Request::Command { id, command } => {
                let (actor, session) = (caller.user, caller.session);
                let answer = app.batcher.execute(Submission { id, actor, session, request_id, command }).await?;
                let status = if answer.created { StatusCode::CREATED } else { StatusCode::OK };
                Ok(json(status, object(answer.json)))
            }
        }
    }
}

/// A reply that holds one object under its name (`{"message": {…}}`, as sockets get it) is that object over REST.
fn object(reply: Bytes) -> Body {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Named<'a> {
        #[serde(borrow, alias = "conversation")]
        message: &'a RawValue,
    }
    match serde_json::from_slice::<Named<'_>>(&reply) {
        Ok(Named { message }) => reply.slice_ref(message.get().as_bytes()).into(),
        Err(_) => reply.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::{
        body::to_bytes,
        http::{HeaderName, HeaderValue},
    };

    async fn told(reply: &'static str) -> Bytes {
        to_bytes(object(Bytes::from_static(reply.as_bytes())), usize::MAX).await.expect("it is in memory")
    }

    #[tokio::test]
    async fn rest_gets_the_object_itself() {
        assert_eq!(told(r#"{"message":{"seq":1}}"#).await, r#"{"seq":1}"#);
        assert_eq!(told(r#"{"conversation":{"id":"x"}}"#).await, r#"{"id":"x"}"#);
        assert_eq!(told(r#"{"conversation_id":"x","members":[]}"#).await, r#"{"conversation_id":"x","members":[]}"#);
    }

    #[test]
    fn keys() {
        let headers = |value: &'static str| {
            let name = HeaderName::from_static(IDEMPOTENCY_KEY);
            HeaderMap::from_iter([(name, HeaderValue::from_static(value))])
        };
        let id = CommandId(Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0001));
        for good in ["01900000-0000-7000-8000-000000000001", "\"01900000-0000-7000-8000-000000000001\""] {
            assert_eq!(key(&headers(good)), Ok(Some(id)));
        }
        assert_eq!(key(&HeaderMap::new()), Ok(None));
        assert_eq!(key(&headers("once")).unwrap_err().field.unwrap().0, "Idempotency-Key");
    }
}
