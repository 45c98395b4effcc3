//! What core publishes on channels, each inside a `CloudEvent`. Nothing here is believed by a door unless it is signed.

use crate::command::State;
use crate::door::{DoorMode, Observed};
use crate::event::DeviceEvent;
use crate::id::{CommandId, DoorId, PersonId, ThreadId};
use serde::{Deserialize, Serialize};

/// On `device:`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum ToDevice {
    /// An `UnlockCommand`, signed.
    Command { command: String },
    /// Something is newer: sync.
    Nudge,
    /// A `Revocation`, signed.
    Revocation { revocation: String },
}

/// On `lockdown:`: a `LockdownStatement`, signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lockdown {
    pub statement: String,
}

/// On `door:`. State only, no names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DoorState {
    pub door: DoorId,
    /// Wanted, apart from what is seen.
    pub mode: DoorMode,
    pub online: bool,
    pub observed: Observed,
}

/// On `site:` and `alerts:`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum AtSite {
    Door(DoorState),
    Event { door: DoorId, event: DeviceEvent },
    Command(CommandChange),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandChange {
    pub command: CommandId,
    pub door: DoorId,
    #[serde(flatten)]
    pub state: State,
}

/// On the personal channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum ToPerson {
    Command(CommandChange),
    /// One's grants have changed: list them again.
    KeysChanged,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ThreadMessage {
    pub thread: ThreadId,
    pub from: PersonId,
    pub text: String,
}
