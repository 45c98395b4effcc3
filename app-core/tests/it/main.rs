//! The integration tests of app-core, one binary.

// The lint knows `#[test]` functions only, not what they call.
#![allow(clippy::unwrap_used)]

#[macro_use]
mod store;

mod api;
mod cache;
mod embedded;
mod enrolment;
mod hostile;
mod house;
mod lead;
mod process;
mod races;
mod relay;
mod rotation;
mod slips;
