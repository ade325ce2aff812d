//! Routing within one process: the same promises on maps in memory. A lease does not end by time, because a process
//! cannot be partitioned from itself; everything else that can be lost with Redis can be lost here, on purpose, so that
//! the way back is tested.
//!
//! Routes name an epoch, and an epoch belongs to one life of one gateway. When it ends, its routes are swept in the same
//! step, so nothing here ever meets a dead gateway's route, while callers see what the contract says.

mod agreed;
mod inbox;
mod once;
mod sets;

use super::{
    Answer, Inbox, Routes, Routing, RoutingAway,
    cells::{Cells, Draw, Drawn},
    terms::Term,
};
use crate::{
    command::GatewayRef,
    domain::{GatewayId, UserId},
    event::InboxEntry,
};
use agreed::Agreed;
use futures_util::future;
use inbox::{Live, LocalInbox};
use metrics::{Counter, Gauge, counter, gauge};
use once::Once;
use sets::EpochSets;
use std::{
    collections::BTreeMap,
    sync::{
        Arc, PoisonError, RwLock, RwLockReadGuard,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

/// What one inbox holds at most, by [`InboxEntry::weight`], beside
/// [`INBOX_ENTRIES_MAX`](crate::domain::INBOX_ENTRIES_MAX). Beyond either it is lost, never trimmed.
pub const INBOX_BYTES_MAX: usize = 64 * 1024 * 1024;
/// People whose presence one gateway may watch. Beyond it they are not watched, which is counted; presence is soft.
pub const WATCHED_MAX: usize = 262_144;
/// Subjects of limits that are remembered, 5 MiB.
const CELLS_MAX: usize = 98_304;

/// Everybody's routing in this process. Clones are the same.
#[derive(Clone)]
pub struct LocalRouting {
    state: Arc<State>,
}

/// Few: in a tree they are found faster than by a hash.
type Table = BTreeMap<u64, Arc<Live>>;

struct State {
    /// Gateways by epoch. Held for reading while routes are written, so that ending an epoch and sweeping its routes
    /// cannot leave one behind.
    live: RwLock<Table>,
    last_epoch: std::sync::atomic::AtomicU64,
    routes: EpochSets,
    watches: EpochSets,
    cells: Cells,
    once: Once,
    agreed: Agreed,
    away: AtomicBool,
    meters: Meters,
}

struct Meters {
    routes: Gauge,
    watched: Gauge,
    gone: Counter,
    watch_refused: Counter,
}

impl Default for LocalRouting {
    fn default() -> Self {
        Self::new()
    }
}

impl LocalRouting {
    /// Metrics are registered here: telemetry starts first.
    pub fn new() -> Self {
        let meters = Meters {
            routes: gauge!("rookery_routing_routes"),
            watched: gauge!("rookery_routing_watched"),
            gone: counter!("rookery_routing_gateways_gone_total"),
            watch_refused: counter!("rookery_routing_watches_refused_total"),
        };
        let state = State {
            live: RwLock::default(),
            last_epoch: Default::default(),
            routes: EpochSets::default(),
            watches: EpochSets::default(),
            cells: Cells::new(CELLS_MAX),
            once: Once::default(),
            agreed: Agreed::default(),
            away: AtomicBool::new(false),
            meters,
        };
        Self { state: Arc::new(state) }
    }

    /// For tests: everything is forgotten at once, as by FLUSHALL.
    pub fn wipe(&self) {
        let lives = std::mem::take(&mut *self.state.live.write().unwrap_or_else(PoisonError::into_inner));
        lives.into_values().for_each(|live| live.end("routing was wiped"));
        self.state.sweep();
    }

    /// For tests: this gateway's inbox and lease are lost.
    pub fn lose_inbox(&self, gateway: GatewayId) {
        let lives: Vec<GatewayRef> =
            self.state.live().values().map(|live| live.me).filter(|me| me.id == gateway).collect();
        for me in lives {
            self.state.end(me, "it was thrown away");
        }
    }

    /// For tests: while set, every question is answered `RoutingAway`; nothing is lost.
    pub fn set_away(&self, away: bool) {
        self.state.away.store(away, Ordering::Relaxed);
    }

    /// The answer, worked out at once unless routing is away.
    fn answer<'a, T: Send + 'a>(&'a self, work: impl FnOnce(&Arc<State>) -> Result<T, RoutingAway>) -> Answer<'a, T> {
        let answer = match self.state.away.load(Ordering::Relaxed) {
            true => Err(RoutingAway("switched off".to_owned())),
            false => work(&self.state),
        };
        Box::pin(future::ready(answer))
    }
}

impl State {
    fn live(&self) -> RwLockReadGuard<'_, Table> {
        self.live.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends an epoch: nothing reaches it any more, and its routes and watches go. Nothing happens where it is over.
    fn end(&self, me: GatewayRef, why: &str) {
        let mut table = self.live.write().unwrap_or_else(PoisonError::into_inner);
        if table.get(&me.epoch).is_none_or(|live| live.me != me) {
            return;
        }
        let ended = table.remove(&me.epoch);
        drop(table);
        if let Some(live) = ended {
            live.end(why);
        }
        self.sweep();
    }

    fn sweep(&self) {
        let live = self.live();
        self.routes.retain(|epoch| live.contains_key(&epoch));
        self.watches.retain(|epoch| live.contains_key(&epoch));
        self.report();
    }

    fn report(&self) {
        self.meters.routes.set(self.routes.len() as f64);
        self.meters.watched.set(self.watches.len() as f64);
    }

    fn join(self: &Arc<Self>, gateway: GatewayId) -> (GatewayRef, Box<dyn Inbox>) {
        let me = GatewayRef { id: gateway, epoch: self.last_epoch.fetch_add(1, Ordering::Relaxed) + 1 };
        let live = Arc::new(Live::new(me));
        let mut table = self.live.write().unwrap_or_else(PoisonError::into_inner);
        let earlier: Vec<Arc<Live>> =
            table.extract_if(.., |_, live| live.me.id == gateway).map(|(_, live)| live).collect();
        table.insert(me.epoch, live.clone());
        drop(table);
        if !earlier.is_empty() {
            earlier.iter().for_each(|live| live.end("the gateway joined again"));
            self.sweep();
        }
        (me, Box::new(LocalInbox::new(live, Arc::downgrade(self))))
    }

    fn add_routes(&self, me: GatewayRef, users: Vec<UserId>) -> Result<Vec<UserId>, RoutingAway> {
        let live = self.live();
        if !live.contains_key(&me.epoch) {
            return Err(RoutingAway("this epoch is over: join again".to_owned()));
        }
        let first = users.into_iter().filter(|user| self.routes.insert(*user, me.epoch).is_first()).collect();
        drop(live);
        self.report();
        Ok(first)
    }

    fn remove_routes(&self, me: GatewayRef, users: Vec<UserId>) -> Vec<UserId> {
        let last = users.into_iter().filter(|user| self.routes.remove(*user, me.epoch).is_last()).collect();
        self.report();
        last
    }

    fn lookup(&self, users: &[UserId]) -> Vec<Routes> {
        let live = self.live();
        users.iter().map(|user| self.routes.get(*user, |epoch| live.get(&epoch).map(|live| live.me))).collect()
    }

    fn deliver(&self, entries: Vec<(GatewayRef, InboxEntry)>) -> Vec<GatewayRef> {
        let mut gone = vec![];
        let live = self.live();
        for (to, entry) in entries {
            let taken = match live.get(&to.epoch) {
                Some(live) if live.me == to => live.push(entry),
                _ => false,
            };
            if !taken && !gone.contains(&to) {
                gone.push(to);
            }
        }
        drop(live);
        for gateway in &gone {
            self.meters.gone.increment(1);
            // If it was there it overflowed.
            self.end(*gateway, "it overflowed");
        }
        gone
    }

    fn watch(&self, me: GatewayRef, users: Vec<UserId>) -> Result<Vec<bool>, RoutingAway> {
        let live = self.live();
        let Some(gateway) = live.get(&me.epoch) else {
            return Err(RoutingAway("this epoch is over: join again".to_owned()));
        };
        // First the watch, then the look: whoever comes between is announced, or seen, or both.
        let seen = users.into_iter().map(|user| {
            if gateway.watched.load(Ordering::Relaxed) >= WATCHED_MAX {
                self.meters.watch_refused.increment(1);
            } else if self.watches.insert(user, me.epoch).is_new() {
                gateway.watched.fetch_add(1, Ordering::Relaxed);
            }
            !self.routes.get(user, |epoch| live.get(&epoch).map(|_| ())).is_empty()
        });
        let seen = seen.collect();
        self.report();
        Ok(seen)
    }

    fn unwatch(&self, me: GatewayRef, users: Vec<UserId>) {
        let live = self.live();
        let removed = users.into_iter().filter(|user| self.watches.remove(*user, me.epoch).was_there()).count();
        if let Some(gateway) = live.get(&me.epoch) {
            gateway.watched.fetch_sub(removed, Ordering::Relaxed);
        }
        self.report();
    }
}

impl Routing for LocalRouting {
    fn join(&self, gateway: GatewayId) -> Answer<'_, (GatewayRef, Box<dyn Inbox>)> {
        self.answer(|state| Ok(state.join(gateway)))
    }

    fn renew(&self, me: GatewayRef) -> Answer<'_, bool> {
        self.answer(|state| Ok(state.live().get(&me.epoch).is_some_and(|live| live.me == me)))
    }

    fn leave(&self, me: GatewayRef) -> Answer<'_, ()> {
        self.answer(|state| {
            state.end(me, "the gateway left");
            Ok(())
        })
    }

    fn add_routes(&self, me: GatewayRef, users: Vec<UserId>) -> Answer<'_, Vec<UserId>> {
        self.answer(|state| state.add_routes(me, users))
    }

    fn remove_routes(&self, me: GatewayRef, users: Vec<UserId>) -> Answer<'_, Vec<UserId>> {
        self.answer(|state| Ok(state.remove_routes(me, users)))
    }

    fn routes_of(&self, me: GatewayRef) -> Answer<'_, Vec<UserId>> {
        self.answer(|state| Ok(state.routes.members(me.epoch)))
    }

    fn lookup<'a>(&'a self, users: &'a [UserId]) -> Answer<'a, Vec<Routes>> {
        self.answer(|state| Ok(state.lookup(users)))
    }

    fn deliver(&self, entries: Vec<(GatewayRef, InboxEntry)>) -> Answer<'_, Vec<GatewayRef>> {
        self.answer(|state| Ok(state.deliver(entries)))
    }

    fn gateways(&self) -> Answer<'_, Vec<GatewayRef>> {
        self.answer(|state| Ok(state.live().values().map(|live| live.me).collect()))
    }

    fn watch(&self, me: GatewayRef, users: Vec<UserId>) -> Answer<'_, Vec<bool>> {
        self.answer(|state| state.watch(me, users))
    }

    fn unwatch(&self, me: GatewayRef, users: Vec<UserId>) -> Answer<'_, ()> {
        self.answer(|state| {
            state.unwatch(me, users);
            Ok(())
        })
    }

    fn watchers<'a>(&'a self, users: &'a [UserId]) -> Answer<'a, Vec<Routes>> {
        self.answer(|state| {
            let live = state.live();
            let of = |user: &UserId| state.watches.get(*user, |epoch| live.get(&epoch).map(|live| live.me));
            Ok(users.iter().map(of).collect())
        })
    }

    fn online<'a>(&'a self, users: &'a [UserId]) -> Answer<'a, Vec<bool>> {
        self.answer(|state| Ok(state.lookup(users).iter().map(|routes| !routes.is_empty()).collect()))
    }

    /// Nobody dies alone in one process.
    fn dead(&self) -> Answer<'_, Vec<(GatewayRef, Vec<UserId>)>> {
        self.answer(|_| Ok(vec![]))
    }

    fn bury(&self, _dead: GatewayRef) -> Answer<'_, ()> {
        self.answer(|_| Ok(()))
    }

    fn draw(&self, draws: Vec<Draw>) -> Answer<'_, Vec<Drawn>> {
        self.answer(|state| Ok(draws.iter().map(|draw| state.cells.draw(draw)).collect()))
    }

    fn agree<'a>(&'a self, terms: &'a [Term]) -> Answer<'a, Vec<&'static str>> {
        self.answer(|state| Ok(state.agreed.agree(terms)))
    }

    fn use_once(&self, key: [u8; 16], ttl: Duration) -> Answer<'_, bool> {
        self.answer(|state| state.once.take(key, ttl))
    }
}
