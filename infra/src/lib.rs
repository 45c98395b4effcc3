//! infra as a library: an account behind one seam, and what reads, plans and changes it.

pub mod aws;
pub use infra_engine::account;
