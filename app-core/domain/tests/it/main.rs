//! The one integration-test binary of the domain crate.

// The lint knows `#[test]` functions only, not what they call.
#![allow(clippy::unwrap_used)]

mod command_model;
mod events;
mod hostile;
mod offline;
mod schedules;
mod vectors;
mod worlds;
