//! The monolith around the domain: what is stored, who may ask, what is sent on. It owns the shells; every rule about doors
//! is the domain crate's.

pub mod command;
pub mod store;
