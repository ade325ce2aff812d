//! Routing in Redis.

use super::{
    Answer, Inbox, Routes, Routing,
    cells::{Draw, Drawn},
};
use crate::{
    command::GatewayRef,
    config::ClusterConfig,
    domain::{GatewayId, UserId},
    event::InboxEntry,
};
use std::time::Duration;

pub struct RedisRouting;

impl RedisRouting {
    /// Connects in the background, and again whenever it has to; until then it is `RoutingAway`.
    pub fn new(_config: &ClusterConfig) -> Result<Self, String> {
        Ok(Self)
    }
}

impl Routing for RedisRouting {
    fn join(&self, _: GatewayId) -> Answer<'_, (GatewayRef, Box<dyn Inbox>)> {
        unimplemented!()
    }
    fn renew(&self, _: GatewayRef) -> Answer<'_, bool> {
        unimplemented!()
    }
    fn leave(&self, _: GatewayRef) -> Answer<'_, ()> {
        unimplemented!()
    }
    fn add_routes(&self, _: GatewayRef, _: Vec<UserId>) -> Answer<'_, Vec<UserId>> {
        unimplemented!()
    }
    fn remove_routes(&self, _: GatewayRef, _: Vec<UserId>) -> Answer<'_, Vec<UserId>> {
        unimplemented!()
    }
    fn routes_of(&self, _: GatewayRef) -> Answer<'_, Vec<UserId>> {
        unimplemented!()
    }
    fn lookup<'a>(&'a self, _: &'a [UserId]) -> Answer<'a, Vec<Routes>> {
        unimplemented!()
    }
    fn deliver(&self, _: Vec<(GatewayRef, InboxEntry)>) -> Answer<'_, Vec<GatewayRef>> {
        unimplemented!()
    }
    fn gateways(&self) -> Answer<'_, Vec<GatewayRef>> {
        unimplemented!()
    }
    fn watch(&self, _: GatewayRef, _: Vec<UserId>) -> Answer<'_, Vec<bool>> {
        unimplemented!()
    }
    fn unwatch(&self, _: GatewayRef, _: Vec<UserId>) -> Answer<'_, ()> {
        unimplemented!()
    }
    fn watchers<'a>(&'a self, _: &'a [UserId]) -> Answer<'a, Vec<Routes>> {
        unimplemented!()
    }
    fn online<'a>(&'a self, _: &'a [UserId]) -> Answer<'a, Vec<bool>> {
        unimplemented!()
    }
    fn dead(&self) -> Answer<'_, Vec<(GatewayRef, Vec<UserId>)>> {
        unimplemented!()
    }
    fn bury(&self, _: GatewayRef) -> Answer<'_, ()> {
        unimplemented!()
    }
    fn draw(&self, _: Vec<Draw>) -> Answer<'_, Vec<Drawn>> {
        unimplemented!()
    }
    fn use_once(&self, _: [u8; 16], _: Duration) -> Answer<'_, bool> {
        unimplemented!()
    }
}
