//! Who is where: which gateways hold sessions of a person, and how a gateway is told something. A promise kept in two
//! ways: [`local`] within one process, and Redis. All of it is soft state: it may be lost at any time, the loss is
//! noticed, and the gateways write it again.
//!
//! A gateway *joins* and gets an epoch and an empty inbox; it renews its lease every [`RENEWAL`]. A route names gateway
//! and epoch, so what is written for an earlier life of a gateway reaches nobody.
//!
//! `tests/routing_contract.rs` holds both implementations to this page.

pub mod cells;
pub mod local;
pub mod redis;
pub mod terms;

use crate::{
    command::GatewayRef,
    domain::{GatewayId, UserId},
    event::InboxEntry,
};
use cells::{Draw, Drawn};
use futures_util::future::BoxFuture;
use std::time::Duration;
use terms::Term;
use thiserror::Error;

pub const RENEWAL: Duration = Duration::from_secs(1);
pub const LEASE: Duration = Duration::from_secs(10);
pub const DEAD_AGAIN: Duration = Duration::from_secs(5);

#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[error("routing is away: {0}")]
pub struct RoutingAway(pub String);

/// Entries may be missing or the lease is gone. The gateway joins again and then, in this order: writes all its routes,
/// resends what is unanswered, tells every session `resync`.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[error("the inbox was lost: {0}")]
pub struct InboxLost(pub String);

pub type Answer<'a, T> = BoxFuture<'a, Result<T, RoutingAway>>;

pub trait Routing: Send + Sync + 'static {
    /// A new epoch for this gateway, with an empty inbox; whatever an earlier epoch had is void.
    fn join(&self, gateway: GatewayId) -> Answer<'_, (GatewayRef, Box<dyn Inbox>)>;

    /// `Ok(false)`: the lease is not ours any more, join again.
    fn renew(&self, me: GatewayRef) -> Answer<'_, bool>;

    fn leave(&self, me: GatewayRef) -> Answer<'_, ()>;

    /// Ok: from now on whatever is looked up for these people names this gateway. Returns those who had no route before.
    /// A route is there or not, it is not counted: again changes nothing, so that a write of unknown outcome is repeated.
    /// Refused to an epoch that is known to be over.
    fn add_routes(&self, me: GatewayRef, users: Vec<UserId>) -> Answer<'_, Vec<UserId>>;

    /// Returns those who have no route left.
    fn remove_routes(&self, me: GatewayRef, users: Vec<UserId>) -> Answer<'_, Vec<UserId>>;

    /// Everybody routed to this gateway, to compare with its sessions.
    fn routes_of(&self, me: GatewayRef) -> Answer<'_, Vec<UserId>>;

    /// For each of `users`, in order, the gateways that hold sessions of theirs.
    fn lookup<'a>(&'a self, users: &'a [UserId]) -> Answer<'a, Vec<Routes>>;

    /// Appends an entry to each inbox; in order for one caller. Returns the gateways that are gone, whose routes are
    /// then deleted.
    fn deliver(&self, entries: Vec<(GatewayRef, InboxEntry)>) -> Answer<'_, Vec<GatewayRef>>;

    /// Every gateway that has joined and not left.
    fn gateways(&self) -> Answer<'_, Vec<GatewayRef>>;

    /// This gateway wants to hear of the presence of these people. Returns who of them is online now, in order.
    fn watch(&self, me: GatewayRef, users: Vec<UserId>) -> Answer<'_, Vec<bool>>;

    fn unwatch(&self, me: GatewayRef, users: Vec<UserId>) -> Answer<'_, ()>;

    /// For each of `users`, in order, the gateways that watch this person.
    fn watchers<'a>(&'a self, users: &'a [UserId]) -> Answer<'a, Vec<Routes>>;

    /// For each of `users`, in order, whether a gateway whose lease holds has sessions of theirs: what presence says.
    /// `lookup` may for a while still name one that has died.
    fn online<'a>(&'a self, users: &'a [UserId]) -> Answer<'a, Vec<bool>>;

    /// Gateways whose lease ended without their leaving, each with everybody routed to it. Given to one caller at a
    /// time, and again after [`DEAD_AGAIN`] until somebody says `bury`.
    fn dead(&self) -> Answer<'_, Vec<(GatewayRef, Vec<UserId>)>>;

    /// Everything that follows from this gateway's death has been said. Its routes go when nobody can need them.
    fn bury(&self, dead: GatewayRef) -> Answer<'_, ()>;

    /// Draws from the cells that all gateways share: how often is too often. In order, each by itself.
    fn draw(&self, draws: Vec<Draw>) -> Answer<'_, Vec<Drawn>>;

    /// The settings in which another process of the cluster has another value; where there are none, ours hold for
    /// [`terms::TERMS_HOLD`].
    fn agree<'a>(&'a self, terms: &'a [Term]) -> Answer<'a, Vec<&'static str>>;

    /// True the first time within `ttl`, for anybody.
    fn use_once(&self, key: [u8; 16], ttl: Duration) -> Answer<'_, bool>;
}

/// The gateways of one person: mostly one.
pub type Routes = Vec<GatewayRef>;

pub trait Inbox: Send {
    /// The next entry, in the order delivered, none missing. Cancel safe.
    fn recv(&mut self) -> BoxFuture<'_, Result<InboxEntry, InboxLost>>;
}
