//! The product as people use it: real gateways and a real worker on a PostgreSQL of each test's own, real clients on real
//! sockets. A test is a story; what it needs to tell it is in `product/world.rs`.
#![allow(clippy::unwrap_used)] // All of this file is a test; clippy knows only the functions marked as one.

#[path = "product/world.rs"]
mod world;

#[path = "product/edge/leaving.rs"]
mod leaving;
#[path = "product/edge/limits.rs"]
mod limits;
#[path = "product/edge/outside.rs"]
mod outside;
#[path = "product/edge/presence.rs"]
mod presence;
#[path = "product/edge/protocol.rs"]
mod protocol;
#[path = "product/edge/readers.rs"]
mod readers;
#[path = "product/edge/sessions.rs"]
mod sessions;

#[path = "product/talk/chat.rs"]
mod chat;
#[path = "product/talk/conversations.rs"]
mod conversations;
#[path = "product/talk/marks.rs"]
mod marks;
#[path = "product/talk/members.rs"]
mod members;
#[path = "product/talk/messages.rs"]
mod messages;
#[path = "product/talk/rest.rs"]
mod rest;
#[path = "product/talk/roles.rs"]
mod roles;
#[path = "product/talk/sync.rs"]
mod sync;

#[path = "product/trouble/bus.rs"]
mod bus;
#[path = "product/trouble/chaos.rs"]
mod chaos;
#[path = "product/trouble/copies.rs"]
mod copies;
#[path = "product/trouble/database.rs"]
mod database;
#[path = "product/trouble/patience.rs"]
mod patience;
#[path = "product/trouble/routing.rs"]
mod routing;
