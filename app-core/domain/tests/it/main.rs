//! The one integration-test binary of the domain crate.

mod command_model;
mod events;
mod hostile;
mod offline;
mod schedules;
mod vectors;
mod worlds;
