//! The integration tests of app-core, one binary.

#![allow(clippy::unwrap_used, reason = "a test says what is wrong by failing")]

mod store;
