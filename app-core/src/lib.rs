//! The monolith around the domain: what is stored, who may ask, what is sent on. It owns the shells; every rule about doors
//! is the domain crate's.

pub mod api;
pub mod command;
pub mod config;
pub mod core;
pub mod decide;
pub mod doc;
pub mod facts;
pub mod identity;
pub mod ids;
pub mod metrics;
pub mod publish;
pub mod relay;
pub mod serve;
pub mod source;
pub mod store;
pub mod trail;
