//! Virtual doors and phones. Each is a pure core (inputs in, outputs out) inside a shell that has a bolt, a memory that
//! survives and a link. Owns what a device does, step by step; refuses to decide by other rules than the domain's.

pub mod bolt;
pub mod client;
pub mod dice;
pub mod door;
pub mod enrolling;
pub mod enrolment;
pub mod flash;
pub mod http;
pub mod link;
pub mod net;
pub mod phone;
pub mod scene;
pub mod small_core;
