//! What nobody keeps: who types where, and who is here. Ephemeral: past the bus and the outbox, straight to the gateways
//! concerned; the first to be dropped when a client reads slowly. Presence goes only to those who watch.

use crate::{batcher::Batcher, refusal::of_store};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use shared::{
    clock,
    domain::{ConversationId, EPHEMERAL_MEMBERS_MAX, UserId},
    event::{Event, EventName, InboxEntry, InboxItem, Position},
    fanout::{Fanout, FanoutError, Group, To, presence::PresenceData},
    reply::{Code, Refusal},
    store::{Store, audience::Audience},
    view::json,
};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

/// The same word again within this time is not passed on.
const COALESCE: Duration = Duration::from_millis(500);
/// Who does not say it again within this time has stopped typing: told with the event, so that it ends by itself.
const TYPING_LASTS: Duration = Duration::from_secs(6);
/// People whose last word is remembered for coalescing.
const TYPISTS_MAX: usize = 20_000;

pub struct Presence {
    store: Store,
    fanout: Arc<Fanout>,
    batcher: Arc<Batcher>,
    typists: Mutex<HashMap<(UserId, ConversationId), (bool, Instant)>>,
}

#[derive(Serialize)]
struct TypingData {
    user_id: UserId,
    typing: bool,
    expires_ms: u64,
}

/// Of `member.removed`, what matters here.
#[derive(Deserialize)]
struct Left {
    user_id: UserId,
}

#[derive(Serialize)]
struct StatesData {
    presence: Vec<PresenceData>,
}

impl Presence {
    pub fn new(store: Store, fanout: Arc<Fanout>, batcher: Arc<Batcher>) -> Self {
        Self { store, fanout, batcher, typists: Mutex::default() }
    }

    /// To the other members, in conversations of at most a hundred.
    pub async fn typing(&self, user: UserId, conversation: ConversationId, typing: bool) -> Result<(), Refusal> {
        let audience = self.audience_of(user, conversation).await.map_err(|error| fanout_refusal(&error))?;
        let audience = audience.ok_or_else(Refusal::not_found)?;
        if audience.members.len() > EPHEMERAL_MEMBERS_MAX || !self.is_news(user, conversation, typing) {
            return Ok(());
        }
        let others: Arc<[UserId]> =
            audience.members.iter().map(|(member, _)| *member).filter(|member| *member != user).collect();
        let data = TypingData { user_id: user, typing, expires_ms: TYPING_LASTS.as_millis() as u64 };
        let position = Position::Ephemeral { conversation: Some(conversation) };
        let event = Event { name: EventName::Typing, position, data: json(&data) };
        let group = Group { to: To::Users(others), events: [event].into(), replies: vec![] };
        self.fanout.hand_on(&[group]).await.map_err(|error| fanout_refusal(&error))
    }

    /// Whoever has just left must not type there any more, nor hear that others do: the list is read again. Returns who has.
    pub fn heard(&self, entry: &InboxEntry) -> Vec<UserId> {
        let mut left = vec![];
        for item in &entry.items {
            let InboxItem::Events { events, .. } = item else { continue };
            for event in events.iter().filter(|event| event.name == EventName::MemberRemoved) {
                if let Some((conversation, _)) = event.position.place() {
                    self.fanout.audiences().forget(conversation);
                }
                left.extend(serde_json::from_slice(&event.data).map(|Left { user_id }| user_id));
            }
        }
        left
    }

    /// The members, if this person is one of them; whoever has just joined is not in a list of some seconds ago.
    async fn audience_of(
        &self,
        user: UserId,
        conversation: ConversationId,
    ) -> Result<Option<Arc<Audience>>, FanoutError> {
        let has = |audience: &Arc<Audience>| audience.members.iter().any(|(member, _)| *member == user);
        let audiences = self.fanout.audiences();
        match audiences.recent(conversation).await? {
            Some(recent) if !has(&recent) => Ok(audiences.again(conversation, &recent).await?.filter(has)),
            recent => Ok(recent),
        }
    }

    fn is_news(&self, user: UserId, conversation: ConversationId, typing: bool) -> bool {
        let now = clock::monotonic();
        let mut typists = self.typists.lock().unwrap_or_else(PoisonError::into_inner);
        if typists.len() >= TYPISTS_MAX {
            typists.retain(|_, (_, said)| now.duration_since(*said) < COALESCE);
        }
        let news =
            typists.get(&(user, conversation)).is_none_or(|(same, said)| *same != typing || now - *said >= COALESCE);
        // Kept is what was passed on: whoever repeats himself all the time is heard every half second, not once.
        if news {
            typists.insert((user, conversation), (typing, now));
        }
        news
    }

    /// Those of `users` whom this person may watch: whoever shares a conversation, and oneself.
    pub async fn allowed(&self, user: UserId, mut users: Vec<UserId>) -> Result<Vec<UserId>, Refusal> {
        users.sort_unstable();
        users.dedup();
        let mut allowed = self.store.list_acquainted(user, &users).await.map_err(of_store)?;
        if users.contains(&user) && !allowed.contains(&user) {
            allowed.push(user);
        }
        Ok(allowed)
    }

    /// How these people are now, from the moment on from which this gateway hears of them: the answer, and what it says.
    pub async fn states(&self, users: Vec<UserId>) -> Result<(Bytes, Vec<(UserId, bool)>), Refusal> {
        let away = || Refusal::new(Code::Unavailable, "presence is not known just now").retry_after(1);
        let me = self.batcher.gateway().ok_or_else(away)?;
        let online = self.fanout.routing().watch(me, users.clone()).await.map_err(|_| away())?;
        let seen: HashMap<UserId, DateTime<Utc>> =
            self.store.list_last_seen(&users).await.map_err(of_store)?.into_iter().collect();
        let states: Vec<(UserId, bool)> = users.into_iter().zip(online).collect();
        let view = |(user, online): &(UserId, bool)| PresenceData {
            user_id: *user,
            online: *online,
            last_seen: seen.get(user).copied(),
        };
        Ok((json(&StatesData { presence: states.iter().map(view).collect() }), states))
    }
}

fn fanout_refusal(error: &FanoutError) -> Refusal {
    tracing::debug!(%error, "an ephemeral event was not passed on");
    Refusal::new(Code::Unavailable, "a part this needs is away").retry_after(1)
}
