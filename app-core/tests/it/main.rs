//! The integration tests of app-core, one binary.

mod embedded;
mod house;
mod store;
