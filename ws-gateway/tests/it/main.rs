//! The gateway from outside: real sockets, a real bus, recorded frames, real SDKs.

// Everything here is a test, also what stands outside of test functions.
#![allow(clippy::unwrap_used)]

mod api;
mod bounds;
mod calls;
mod clients;
mod codes;
mod delivery;
mod documents;
mod faults;
mod gateway;
mod process;
mod properties;
mod raw;
mod scene;
mod survive;
mod tokens;
mod transcript;
mod wrapped;
