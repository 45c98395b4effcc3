//! Tests of the pure half of infra, one binary. Each module owns one area.

// Clippy sees tests only in functions marked so; what they share is test code, too.
#![allow(clippy::unwrap_used)]

mod blueprint;
mod environment;
mod golden;
mod plans;
mod problems;
