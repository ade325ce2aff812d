//! The store on a real PostgreSQL: what the append makes of a batch, what members see, what strangers do not, which plans the statements
//! get, and that catching up ends where reading anew would.
#![allow(clippy::unwrap_used)] // All of this file is a test; clippy knows only the functions marked as one.

#[path = "store/append.rs"]
mod append;
#[path = "store/clean_up.rs"]
mod clean_up;
#[path = "store/client.rs"]
mod client;
#[path = "store/conversations.rs"]
mod conversations;
#[path = "store/history.rs"]
mod history;
#[path = "store/plans.rs"]
mod plans;
#[path = "store/sync.rs"]
mod sync;
#[path = "store/sync_model.rs"]
mod sync_model;
#[path = "store/world.rs"]
mod world;
