//! The executor against the account in memory: it converges, whatever happens.

mod converge;
mod drift;
mod leases;
mod world;
