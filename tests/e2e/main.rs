//! The programs of this repository as processes, against the emulator. One binary, one module per question.
//!
//! Needs Python; fetches the emulator into the cache when it is not there. Each test has an emulator of its own.
#![allow(clippy::unwrap_used, reason = "a test says with a panic that it failed")]

mod drift;
mod edits;
mod foreign;
mod harness;
mod lifecycle;
mod loosened;
mod patches;
mod policy;
mod refusals;
