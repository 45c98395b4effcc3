//! The bus's integration tests: one conformance suite on every implementation, and what only Redis can suffer.

// The cases are functions shared by several tests, which the lint's own exception for tests does not see.
#![allow(clippy::unwrap_used)]

mod chaos;
mod conformance;
mod memory;
mod recorder;
mod redis;
mod server;
