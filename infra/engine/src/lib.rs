//! Carries out plans. It knows one seam, [`account::Account`], and nothing of AWS's SDKs, so that its tests, which fail
//! every call of every run, build in seconds.

pub mod account;
pub mod execute;
pub mod lease;
pub mod memory;
pub mod run;
