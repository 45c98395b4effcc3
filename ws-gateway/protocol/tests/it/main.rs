//! The protocol crate from outside: recorded frames, round trips and hostile bytes.

mod properties;
mod recorded;
