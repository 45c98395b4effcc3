//! The gateway from outside: real sockets, a real bus, recorded frames, real SDKs.

mod api;
mod bounds;
mod clients;

mod delivery;
mod gateway;
mod process;
mod properties;
mod raw;
mod survive;
mod tokens;
mod transcript;
