//! The bus's integration tests: one conformance suite on every implementation, and what only Redis can suffer.

mod conformance;
mod memory;
mod recorder;
