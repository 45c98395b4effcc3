//! The pure half of app-core: who may open which door, the life of a command, events that are never lost, an audit
//! chain, and everything that core and devices sign. Facts and instants come in as values, decisions go out as values.
//! It refuses to know clocks, files, networks and databases; docs/domain.md tells the whole.

pub mod audit;
pub mod bundle;
pub mod clock;
pub mod command;
pub mod credential;
pub mod decision;
pub mod door;
pub mod event;
pub mod facts;
pub mod grant;
pub mod id;
pub mod lockdown;
pub mod message;
pub mod person;
pub mod place;
pub mod schedule;
pub mod sign;
pub mod time;
pub mod zone;
