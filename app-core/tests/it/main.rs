//! The integration tests of app-core, one binary.

mod store;
