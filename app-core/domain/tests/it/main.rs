//! The one integration-test binary of the domain crate.

mod command_model;
mod offline;
mod schedules;
mod worlds;
