//! What gateway and worker must agree on, and nothing else: the words they exchange (command, reply, event), the two
//! ways they exchange them (bus, routing), the truth they share (store), and who an event goes to (fanout).
//!
//! Charter: nothing in here knows HTTP, WebSocket or a client's JSON requests, and nothing decides what a command does.

pub mod bus;
pub mod clock;
pub mod command;
pub mod config;
pub mod domain;
pub mod event;
pub mod fanout;
pub mod lifecycle;
pub mod probe;
pub mod reply;
pub mod routing;
pub mod store;
pub mod telemetry;
pub mod testing;
pub mod view;
pub mod wire;
