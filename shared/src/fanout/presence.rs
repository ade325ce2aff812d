//! Telling whoever watches that somebody has come or gone. Several may have something to say of one person at once (gone
//! at one gateway, come at another, a gateway found dead by a worker), in any order. So what is said is never what
//! happened, but what is so now; then one looks again, and says it again where it has changed meanwhile. Whoever speaks
//! last has looked after it, and it was true.

use super::{Entries, Fanout, FanoutError};
use crate::{
    clock,
    domain::UserId,
    event::{Event, EventName, InboxItem, Position},
    routing::Routes,
    view::json,
};
use chrono::{DateTime, Utc};
use serde::Serialize;
use std::sync::Arc;

/// People who are looked up at once: three questions to the routing for all of them together.
const AT_ONCE: usize = 1000;

/// Whether somebody is here, as watchers are told.
#[derive(Serialize)]
pub struct PresenceData {
    pub user_id: UserId,
    pub online: bool,
    #[serde(serialize_with = "clock::json_option::serialize")]
    pub last_seen: Option<DateTime<Utc>>,
}

/// What watchers are told.
pub fn event(user: UserId, online: bool) -> Event {
    let data = PresenceData { user_id: user, online, last_seen: Some(clock::now()) };
    Event { name: EventName::Presence, position: Position::Ephemeral { conversation: None }, data: json(&data) }
}

impl Fanout {
    /// Tells whoever watches how these people, who have just come or gone, are now. After an error some were not told;
    /// again is harmless.
    pub async fn announce(&self, users: &[UserId]) -> Result<(), FanoutError> {
        let mut users = users.to_vec();
        users.sort_unstable();
        users.dedup();
        for some in users.chunks(AT_ONCE) {
            self.announce_some(some).await?;
        }
        Ok(())
    }

    async fn announce_some(&self, users: &[UserId]) -> Result<(), FanoutError> {
        // Once is enough: whoever begins to watch after this sees for himself how it is, and misses nothing that follows.
        let watchers = self.routing.watchers(users).await?;
        let watched = users.iter().copied().zip(watchers).filter(|(_, watchers)| !watchers.is_empty());
        let (users, watchers): (Vec<UserId>, Vec<Routes>) = watched.unzip();
        let mut said: Vec<Option<bool>> = vec![None; users.len()];
        while !users.is_empty() {
            let now: Vec<Option<bool>> = self.routing.online(&users).await?.into_iter().map(Some).collect();
            if now == said {
                break;
            }
            let mut entries = Entries::default();
            let states = users.iter().zip(&watchers).zip(said.iter().zip(&now));
            for ((user, watchers), (_, now)) in states.filter(|(_, (said, now))| said != now) {
                let events: Arc<[Event]> = [event(*user, *now == Some(true))].into();
                metrics::counter!("rookery_presence_announced_total").increment(1);
                for gateway in watchers {
                    entries.item(*gateway, InboxItem::Events { events: events.clone(), to: [*user].into() });
                }
            }
            self.deliver(entries).await?;
            said = now;
        }
        Ok(())
    }
}
