//! The pure half of infra.

pub mod environment;
pub mod shipped;
pub mod waf;
