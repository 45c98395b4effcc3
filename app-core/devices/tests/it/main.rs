//! The one integration-test binary of the device crate.

// The lint knows `#[test]` functions only, not what they call.
#![allow(clippy::unwrap_used)]

mod chaos;
mod doors;
mod sockets;
