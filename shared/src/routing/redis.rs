//! Routing in Redis, for gateways and workers of several processes. What is kept there, and under which keys, is in
//! `keys`; everything that takes more than one step is a script (`redis/scripts/`).
//!
//! Redis may be away, be wiped, be restarted with or without its data. While it is away every question is answered
//! [`RoutingAway`] within about a second. What was lost is noticed by the reader of the inbox, by its place in the stream
//! and by the server's `run_id`, and by the renewal of the lease; the gateways then write everything again.
//!
//! Delivering does not look at leases: an inbox that is not there is a gateway that is gone, and whoever meets it deletes
//! its routes. Leases are for presence.

mod deliver;
mod dial;
mod gateways;
mod gone;
mod health;
mod inbox;
mod keys;
mod limits;
mod link;
mod routes;
mod scripts;

use super::{
    Answer, Inbox, Routes, Routing, RoutingAway,
    cells::{Draw, Drawn},
    terms::Term,
};
use crate::{
    command::GatewayRef,
    config::{ClusterConfig, ConfigError},
    domain::{GatewayId, UserId},
    event::InboxEntry,
};
use dial::{Connection, Dial};
use gateways::Life;
use gone::Gone;
use keys::{Keys, ROUTE, WATCH};
use link::{About, Again, Link, PATIENCE};
use metrics::{Counter, Gauge, counter, gauge};
use redis::{Cmd, FromRedisValue, Script, ScriptInvocation};
use scripts::Scripts;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

/// Clones are the same.
#[derive(Clone)]
pub struct RedisRouting {
    core: Arc<Core>,
}

struct Core {
    link: Arc<Link>,
    keys: Keys,
    scripts: Scripts,
    gone: Gone,
    lives: Mutex<HashMap<GatewayId, Life>>,
    meters: Meters,
}

struct Meters {
    routes: Gauge,
    watched: Gauge,
    entries: Gauge,
    leases: Gauge,
    gone: Counter,
    watches_refused: Counter,
}

impl RedisRouting {
    /// Connects when it is first asked something, and again whenever it has to. Metrics are registered here: telemetry
    /// starts first.
    pub fn new(config: &ClusterConfig) -> Result<Self, ConfigError> {
        Self::with_patience(config, PATIENCE)
    }

    /// For tests of something else than patience, on a machine that does other things at the same time.
    pub fn with_patience(config: &ClusterConfig, patience: Duration) -> Result<Self, ConfigError> {
        let link = Arc::new(Link::new(Dial::new(config)?, patience));
        let meters = Meters {
            routes: gauge!("rookery_routing_routes"),
            watched: gauge!("rookery_routing_watched"),
            entries: gauge!("rookery_inbox_entries"),
            leases: gauge!("rookery_routing_leases"),
            gone: counter!("rookery_routing_gateways_gone_total"),
            watches_refused: counter!("rookery_routing_watches_refused_total"),
        };
        let (keys, scripts) = (Keys::new(&config.name), Scripts::new());
        let core = Core { link, keys, scripts, gone: Gone::default(), lives: Mutex::default(), meters };
        Ok(Self { core: Arc::new(core) })
    }
}

impl Core {
    /// The answer to one command.
    async fn ask<T: FromRedisValue>(&self, about: About, again: Again, command: &Cmd) -> Result<T, RoutingAway> {
        let work = |mut connection: Connection, _| async move { command.query_async(&mut connection.commands).await };
        self.link.call(about, again, work).await
    }

    /// The answer of one script. `put` gives its arguments after the prefix, and hears whether it is begun again.
    async fn run<T: FromRedisValue>(
        &self,
        about: About,
        again: Again,
        script: &Script,
        put: impl Fn(&mut ScriptInvocation<'_>, bool),
    ) -> Result<T, RoutingAway> {
        let work = |mut connection: Connection, begun| {
            let mut call = script.prepare_invoke();
            call.arg(&self.keys.prefix);
            put(&mut call, begun);
            async move { call.invoke_async(&mut connection.commands).await }
        };
        self.link.call(about, again, work).await
    }
}

/// An answer that no Redis gives to what was asked.
fn odd() -> RoutingAway {
    RoutingAway("Redis: what it answers is not an answer".to_owned())
}

impl Routing for RedisRouting {
    fn join(&self, gateway: GatewayId) -> Answer<'_, (GatewayRef, Box<dyn Inbox>)> {
        Box::pin(async move {
            let (me, inbox) = self.core.join(gateway).await?;
            Ok((me, Box::new(inbox) as Box<dyn Inbox>))
        })
    }

    fn renew(&self, me: GatewayRef) -> Answer<'_, bool> {
        Box::pin(self.core.renew(me))
    }

    fn leave(&self, me: GatewayRef) -> Answer<'_, ()> {
        Box::pin(self.core.leave(me))
    }

    fn add_routes(&self, me: GatewayRef, users: Vec<UserId>) -> Answer<'_, Vec<UserId>> {
        Box::pin(async move { self.core.add_routes(me, &users).await })
    }

    fn remove_routes(&self, me: GatewayRef, users: Vec<UserId>) -> Answer<'_, Vec<UserId>> {
        Box::pin(async move { self.core.remove(About::Routes, ROUTE, me, &users).await })
    }

    fn routes_of(&self, me: GatewayRef) -> Answer<'_, Vec<UserId>> {
        Box::pin(self.core.routes_of(me))
    }

    fn lookup<'a>(&'a self, users: &'a [UserId]) -> Answer<'a, Vec<Routes>> {
        Box::pin(self.core.lists(About::Lookup, ROUTE, users))
    }

    fn deliver(&self, entries: Vec<(GatewayRef, InboxEntry)>) -> Answer<'_, Vec<GatewayRef>> {
        Box::pin(self.core.deliver(entries))
    }

    fn gateways(&self) -> Answer<'_, Vec<GatewayRef>> {
        Box::pin(self.core.gateways())
    }

    fn watch(&self, me: GatewayRef, users: Vec<UserId>) -> Answer<'_, Vec<bool>> {
        Box::pin(async move { self.core.watch(me, &users).await })
    }

    fn unwatch(&self, me: GatewayRef, users: Vec<UserId>) -> Answer<'_, ()> {
        Box::pin(async move { self.core.remove(About::Presence, WATCH, me, &users).await.map(drop) })
    }

    fn watchers<'a>(&'a self, users: &'a [UserId]) -> Answer<'a, Vec<Routes>> {
        Box::pin(self.core.lists(About::Presence, WATCH, users))
    }

    fn online<'a>(&'a self, users: &'a [UserId]) -> Answer<'a, Vec<bool>> {
        Box::pin(self.core.online(users))
    }

    fn dead(&self) -> Answer<'_, Vec<(GatewayRef, Vec<UserId>)>> {
        Box::pin(self.core.dead())
    }

    fn bury(&self, dead: GatewayRef) -> Answer<'_, ()> {
        Box::pin(self.core.bury(dead))
    }

    fn draw(&self, draws: Vec<Draw>) -> Answer<'_, Vec<Drawn>> {
        Box::pin(async move { self.core.draw(&draws).await })
    }

    fn agree<'a>(&'a self, terms: &'a [Term]) -> Answer<'a, Vec<&'static str>> {
        Box::pin(self.core.agree(terms))
    }

    fn use_once(&self, key: [u8; 16], ttl: Duration) -> Answer<'_, bool> {
        Box::pin(self.core.use_once(key, ttl))
    }
}
