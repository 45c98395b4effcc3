//! The pure half of infra.
