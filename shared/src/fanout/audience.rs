//! The members of conversations, cached by the version of the list: a commit names the version it saw, and a cached
//! list serves it if it is that version or a later one (who joined later is left out by his place of joining).

use super::{FanoutError, Group, To};
use crate::{
    domain::{ConversationId, UserId},
    store::{Store, audience::Audience},
};
use quick_cache::{Weighter, sync::Cache};
use std::{collections::HashMap, sync::Arc, time::Duration};

/// Members in all cached lists together: 24 bytes each, 24 MB at most.
const CACHED_MEMBERS_MAX: u64 = 1_000_000;

/// How old a list may be for an ephemeral event. A gateway that hears of a removal forgets its list; one that does not may let
/// a removed member type, or see that others do, for this much longer.
const RECENT: Duration = Duration::from_secs(10);

#[derive(Clone)]
struct ByMembers;

impl Weighter<ConversationId, Arc<Audience>> for ByMembers {
    fn weight(&self, _: &ConversationId, audience: &Arc<Audience>) -> u64 {
        audience.members.len() as u64 + 4
    }
}

pub struct Audiences {
    store: Store,
    cache: Cache<ConversationId, Arc<Audience>, ByMembers>,
}

impl Audiences {
    pub(super) fn new(store: Store) -> Self {
        Self { store, cache: Cache::with_weighter(10_000, CACHED_MEMBERS_MAX, ByMembers) }
    }

    /// The audience of each of `wanted`, in order; `None` for named people and for conversations that are not there.
    /// What is not cached, or cached too old, is read in one query.
    pub(super) async fn resolve<'a>(
        &self,
        wanted: impl Iterator<Item = &'a To> + Clone,
    ) -> Result<Vec<Option<Arc<Audience>>>, FanoutError> {
        let cached = |to: &To| match to {
            To::Members { conversation, version } => {
                self.cache.get(conversation).filter(|audience| audience.version >= *version)
            }
            To::Users(_) => None,
        };
        let mut found: Vec<Option<Arc<Audience>>> = wanted.clone().map(cached).collect();
        let missing = |(to, audience): (&'a To, &Option<Arc<Audience>>)| match to {
            To::Members { conversation, .. } if audience.is_none() => Some(*conversation),
            _ => None,
        };
        let mut ids: Vec<ConversationId> = wanted.clone().zip(&found).filter_map(missing).collect();
        if ids.is_empty() {
            return Ok(found);
        }
        ids.sort_unstable();
        ids.dedup();
        // Kept here as well as in the cache, which may throw anything out at once.
        let read: HashMap<ConversationId, Arc<Audience>> =
            self.store.list_audiences(&ids).await?.into_iter().map(|(id, audience)| (id, Arc::new(audience))).collect();
        for (id, audience) in &read {
            self.cache.insert(*id, audience.clone());
        }
        for (to, audience) in wanted.zip(&mut found) {
            if let To::Members { conversation, .. } = to
                && audience.is_none()
            {
                *audience = read.get(conversation).cloned();
            }
        }
        Ok(found)
    }

    /// The people a group goes to.
    pub(super) fn recipients(group: &Group, audience: Option<&Audience>, users: &mut Vec<UserId>) {
        match (&group.to, audience) {
            (To::Users(to), _) => users.extend_from_slice(to),
            (To::Members { .. }, Some(audience)) => {
                let first = group.events.first().and_then(|event| event.position.place());
                let joined =
                    audience.members.iter().filter(|(_, joined)| first.is_none_or(|(_, place)| *joined < place));
                users.extend(joined.map(|(user, _)| *user));
            }
            (To::Members { .. }, None) => {}
        }
    }

    /// The members as of now or a short while ago, for ephemeral events; `None` where there is no such conversation.
    pub async fn recent(&self, conversation: ConversationId) -> Result<Option<Arc<Audience>>, FanoutError> {
        if self.cache.get(&conversation).is_some_and(|audience| audience.read_at.elapsed() > RECENT) {
            self.forget(conversation);
        }
        Ok(self.resolve([&To::Members { conversation, version: 0 }].into_iter()).await?.pop().flatten())
    }

    /// As it is now, where the one just given may be too old.
    pub async fn again(
        &self,
        conversation: ConversationId,
        known: &Audience,
    ) -> Result<Option<Arc<Audience>>, FanoutError> {
        let newer = To::Members { conversation, version: known.version + 1 };
        Ok(self.resolve([&newer].into_iter()).await?.pop().flatten())
    }

    /// The database may be another one: a restored one counts its lists from an earlier version again.
    pub fn forget_all(&self) {
        self.cache.clear();
    }

    /// The list has changed: whoever asks next reads it anew.
    pub fn forget(&self, conversation: ConversationId) {
        self.cache.remove(&conversation);
    }
}
