//! The edge through a real listener: raw sockets that break the rules, slow peers, and a well-behaved client.
#![allow(clippy::unwrap_used)]

mod frames;
mod handshake;
mod harness;
mod outbox;
mod timers;
