//! The edge: the only crate that knows HTTP, WebSocket, Socket.IO and a client's JSON.
//!
//! In: shard → session → batcher → bus. Out: inbox → hub → shard. REST goes the same way in and waits for its answer.

pub mod app;
pub mod auth;
pub mod ended;
pub mod json;
pub mod limits;
pub mod refusal;
pub mod rest;
pub mod server;
pub mod shard;
pub mod upgrade;
