//! infra as a library: an account behind one seam, and what reads, plans and changes it.

pub mod aws;
pub mod cli;
pub mod command;
pub mod files;
pub mod logs;
pub mod output;
pub use infra_engine::account;
