//! Several workers beside each other on one bus and one PostgreSQL: who gets which commands, what becomes of them while
//! workers come, go, die and are stopped in their tracks, and what the others do about it.
#![allow(clippy::unwrap_used)] // All of this file is a test; clippy knows only the functions marked as one.

#[path = "it/clean_up.rs"]
mod clean_up;
#[path = "it/database.rs"]
mod database;
#[path = "it/gateway.rs"]
mod gateway;
#[path = "it/outbox.rs"]
mod outbox;
#[path = "it/partitions.rs"]
mod partitions;
#[path = "it/rabbit.rs"]
mod rabbit;
#[path = "it/slow.rs"]
mod slow;
#[path = "it/sweep.rs"]
mod sweep;
#[path = "it/words.rs"]
mod words;
#[path = "it/world.rs"]
mod world;
