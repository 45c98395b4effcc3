//! Core's decisions: facts, rows and an input in, a `Change` and an answer out. Pure; the relay and the API read, call
//! one of these, commit, and only then answer. Every rule about doors is the domain crate's.

pub mod access;
pub mod command;
pub mod lockdown;
pub mod report;
pub mod revoke;
pub mod sync;
pub mod travel;
pub mod unlock;
