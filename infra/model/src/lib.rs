//! The pure half of infra: an environment as typed data, the AWS kinds as data, and the decision what to change.
//! No clock, no network, no files, no environment variables: all of them come in as values.

pub mod address;
pub mod blueprint;
pub mod diff;
pub mod environment;
pub mod graph;
pub mod kinds;
pub mod operations;
pub mod plan;
pub mod render;
pub mod shipped;
pub mod snapshot;
pub mod value;
pub mod waf;
