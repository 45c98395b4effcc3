//! The integration tests of app-core, one binary.

mod api;
mod embedded;
mod hostile;
mod house;
mod store;
