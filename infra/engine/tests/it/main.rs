//! The executor against the account in memory: it converges, whatever happens.
#![allow(clippy::unwrap_used, clippy::large_enum_variant)] // a test's world may panic, and holds few values

mod converge;
mod drift;
mod edits;
mod interrupt;
mod leases;
mod world;
