//! Who is who: the keys that core signs with, the tokens that gateways believe, and how a device or a phone proves its
//! own key. Owns minting and proofs; refuses to know doors and grants.

pub mod challenge;
pub mod code;
pub mod keyring;
pub mod seal;
pub mod token;
