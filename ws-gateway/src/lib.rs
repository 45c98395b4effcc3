//! The gateway as a library: the sockets of doors and phones in front of the bus. The binary is a thin shell
//! around it, and a small server runs it in its own process on the memory bus. It knows channels, methods and
//! capabilities from a token; it has no business rule and no database.

pub mod auth;
pub mod config;
pub mod drain;
pub mod event;
pub mod frame;
mod http;
pub mod hub;
mod keys;
pub mod limits;
pub mod link;
pub mod metrics;
pub mod namespace;
pub mod node;
pub mod outbox;
pub mod registry;
pub mod serve;
pub mod session;
mod stopping;
mod transport;

pub use config::{Config, ConfigFaults};
pub use serve::Gateway;
