//! The gateway from outside: real sockets, a real bus, recorded frames, real SDKs.

// Everything here is a test, also what stands outside of test functions.
#![allow(clippy::unwrap_used)]

mod api;
mod bounds;
mod clients;

mod delivery;
mod gateway;
mod process;
mod properties;
mod raw;
mod survive;
mod tokens;
mod transcript;
