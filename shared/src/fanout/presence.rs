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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::{Secret, StoreConfig},
        domain::GatewayId,
        routing::{Inbox, Routing, local::LocalRouting},
        store::Store,
    };
    use std::collections::BTreeMap;

    /// PostgreSQL is never asked.
    fn fanout(routing: &LocalRouting) -> Arc<Fanout> {
        let config = StoreConfig { url: Secret::new("postgres://nowhere/none".to_owned()), schema: None, pool: 1 };
        Arc::new(Fanout::new(Store::new(&config).expect("a pool"), Arc::new(routing.clone())))
    }

    /// What an inbox was told of each person, word by word.
    async fn heard(inbox: &mut Box<dyn Inbox>) -> BTreeMap<UserId, Vec<bool>> {
        let mut heard: BTreeMap<UserId, Vec<bool>> = BTreeMap::new();
        while let Ok(entry) = tokio::time::timeout(std::time::Duration::ZERO, inbox.recv()).await {
            for item in entry.expect("an inbox").items {
                let InboxItem::Events { events, to } = item else { panic!("{item:?}") };
                let data: serde_json::Value = serde_json::from_slice(&events[0].data).expect("JSON");
                heard.entry(to[0]).or_default().push(data["online"].as_bool().expect("yes or no"));
            }
        }
        heard
    }

    #[tokio::test]
    async fn watchers_are_told_what_is_so_whatever_has_happened() {
        let routing = LocalRouting::new();
        let (home, _home) = routing.join(GatewayId::new()).await.unwrap();
        let (watcher, mut inbox) = routing.join(GatewayId::new()).await.unwrap();
        let (here, gone, unwatched) = (UserId::new(), UserId::new(), UserId::new());
        routing.watch(watcher, vec![here, gone]).await.unwrap();
        routing.add_routes(home, vec![here, unwatched]).await.unwrap();
        fanout(&routing).announce(&[gone, here, unwatched, here]).await.unwrap();
        assert_eq!(heard(&mut inbox).await, BTreeMap::from([(here, vec![true]), (gone, vec![false])]));
    }

    #[tokio::test]
    async fn very_many_at_once_fit_an_inbox() {
        let routing = LocalRouting::new();
        let (watcher, mut inbox) = routing.join(GatewayId::new()).await.unwrap();
        let users: Vec<UserId> = (0..15_000).map(|_| UserId::new()).collect();
        routing.watch(watcher, users.clone()).await.unwrap();
        fanout(&routing).announce(&users).await.unwrap();
        let heard = heard(&mut inbox).await;
        assert!(heard.len() == users.len() && heard.values().all(|words| *words == [false]));
    }
}
