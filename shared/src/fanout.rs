//! Fan-out: from what a conversation's events are, to whom they go, to the gateways that hold those people, to one
//! inbox entry per gateway. Used by workers for what they have committed and by gateways for ephemeral events.

mod audience;
mod entries;
pub mod presence;

pub use audience::Audiences;

use crate::{
    command::GatewayRef,
    domain::{ConversationId, Place, SessionId, UserId},
    event::{Event, InboxItem},
    reply::Reply,
    routing::{Routing, RoutingAway},
    store::{Store, StoreError, audience::Audience},
};
use entries::Entries;
use std::sync::Arc;
use thiserror::Error;

/// Why something was not handed on. The outbox still has it; the relay tells the people concerned to read again.
#[derive(Debug, Error)]
pub enum FanoutError {
    #[error(transparent)]
    Routing(#[from] RoutingAway),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// To whom events go.
#[derive(Clone, Debug)]
pub enum To {
    /// The members of this conversation, as of this version of the list or later; each gets what is placed after his
    /// joining.
    Members { conversation: ConversationId, version: i64 },
    /// These people.
    Users(Arc<[UserId]>),
}

/// Events with one audience, and the answers to the commands that caused them: at each gateway the events come first.
#[derive(Clone, Debug)]
pub struct Group {
    pub to: To,
    /// In order of place.
    pub events: Arc<[Event]>,
    pub replies: Vec<(GatewayRef, Reply)>,
}

pub struct Fanout {
    audiences: Audiences,
    routing: Arc<dyn Routing>,
}

impl Fanout {
    pub fn new(store: Store, routing: Arc<dyn Routing>) -> Self {
        Self { audiences: Audiences::new(store), routing }
    }

    pub fn routing(&self) -> &Arc<dyn Routing> {
        &self.routing
    }

    pub fn audiences(&self) -> &Audiences {
        &self.audiences
    }

    /// Groups in order, to every gateway concerned: one lookup of routes (after the commit, never from a cache), one
    /// delivery. Routes to gateways that are gone are deleted by the routing as it meets them.
    pub async fn hand_on(&self, groups: &[Group]) -> Result<(), FanoutError> {
        let audiences = self.audiences.resolve(groups.iter().map(|group| &group.to)).await?;
        // All recipients of all groups in one list, so that routing is asked once.
        let mut users: Vec<UserId> = Vec::with_capacity(groups.len() * 8);
        let mut ends = Vec::with_capacity(groups.len());
        for (group, audience) in groups.iter().zip(&audiences) {
            Audiences::recipients(group, audience.as_deref(), &mut users);
            ends.push(users.len());
        }
        let routes = self.routing.lookup(&users).await?;
        let mut entries = Entries::default();
        let mut start = 0;
        for (group, end) in groups.iter().zip(ends) {
            entries.events(&group.events, &users[start..end], &routes[start..end]);
            for (gateway, reply) in &group.replies {
                entries.reply(*gateway, reply.clone());
            }
            start = end;
        }
        self.deliver(entries).await
    }

    /// Tells everybody in these conversations to read them again, up to these places.
    pub async fn resync(&self, conversations: &[(ConversationId, Place)]) -> Result<(), FanoutError> {
        conversations.iter().for_each(|(conversation, _)| self.audiences.forget(*conversation));
        let members = |(id, _): &(ConversationId, Place)| To::Members { conversation: *id, version: 0 };
        let wanted: Vec<To> = conversations.iter().map(members).collect();
        let audiences = self.audiences.resolve(wanted.iter()).await?;
        let members = |audience: &Option<Arc<Audience>>| -> Vec<UserId> {
            audience.iter().flat_map(|audience| &audience.members).map(|(user, _)| *user).collect()
        };
        let users: Vec<Vec<UserId>> = audiences.iter().map(members).collect();
        let routes = self.routing.lookup(&users.concat()).await?;
        let (mut entries, mut start) = (Entries::default(), 0);
        for (conversation, users) in conversations.iter().zip(&users) {
            let routes = &routes[start..start + users.len()];
            entries.each_gateway(users, routes, |to| InboxItem::Resync { conversation: Some(*conversation), to });
            start += users.len();
        }
        self.deliver(entries).await
    }

    /// Tells these people to read everything again.
    pub async fn resync_users(&self, users: &[UserId]) -> Result<(), FanoutError> {
        let routes = self.routing.lookup(users).await?;
        let mut entries = Entries::default();
        entries.each_gateway(users, &routes, |to| InboxItem::Resync { conversation: None, to });
        self.deliver(entries).await
    }

    /// To every gateway: these sessions are over.
    pub async fn sessions_ended(&self, sessions: Arc<[SessionId]>) -> Result<(), FanoutError> {
        let mut entries = Entries::default();
        for gateway in self.routing.gateways().await? {
            entries.item(gateway, InboxItem::SessionsEnded(sessions.clone()));
        }
        self.deliver(entries).await
    }

    async fn deliver(&self, entries: Entries) -> Result<(), FanoutError> {
        let entries = entries.finish();
        if entries.is_empty() {
            return Ok(());
        }
        let gone = self.routing.deliver(entries).await?;
        metrics::counter!("rookery_fanout_gateways_gone_total").increment(gone.len() as u64);
        Ok(())
    }
}
