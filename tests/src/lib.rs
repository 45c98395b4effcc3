//! What the tests, the demo and the bench stand on: the emulator as a process, a proxy that counts and spoils calls,
//! and the programs of this repository as their user starts them.
//!
//! It knows HTTP and processes, not AWS: which API calls there are, what they cost and what they mean is read off the
//! wire. It links no crate of this workspace and no SDK, so a test here cannot pass because of code it shares with
//! what it tests.

pub mod account;
pub mod answer;
pub mod apart;
pub mod behind;
pub mod call;
pub mod company;
pub mod emulator;
pub mod fault;
pub mod http;
pub mod infra;
pub mod place;
#[allow(clippy::unwrap_used, reason = "it belongs to tests and says what is wrong by failing")]
#[path = "../../app-core/tests/it/store/postgres.rs"]
pub mod postgres;
pub mod program;
pub mod proxy;
pub mod scene;
pub mod stack;

pub use fault::Faults;
pub use infra::{Infra, Run};
pub use proxy::FaultProxy;
pub use stack::Stack;
