//! The engines that `rookery` starts by itself where none is configured: from the machine's own binaries, as an
//! unprivileged user, on sockets of its own, and gone with it. Today that is PostgreSQL.

pub mod account;
pub mod debian;
pub mod postgres;
