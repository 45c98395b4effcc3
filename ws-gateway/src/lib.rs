//! The gateway as a library: the sockets of doors and phones in front of the bus. The binary is a thin shell
//! around it, and a small server runs it in its own process on the memory bus. It knows channels, methods and
//! capabilities from a token; it has no business rule and no database.

pub mod auth;
pub mod event;
pub mod frame;
pub mod limits;
pub mod namespace;
pub mod outbox;
pub mod session;
