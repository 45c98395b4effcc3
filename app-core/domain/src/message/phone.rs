//! What phones ask and core answers.

use crate::command::State;
use crate::credential::Validity;
use crate::id::{CommandId, DoorId, GrantId, RequestId, ThreadId};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnlockCall {
    /// An `UnlockRequest`, signed by the phone's enrolled key. Core believes this, not who the gateway says is asking.
    pub request: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandGet {
    pub command: CommandId,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandReply {
    pub command: CommandId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<RequestId>,
    pub door: DoorId,
    #[serde(flatten)]
    pub state: State,
    /// False: more is to come, on the personal channel.
    #[serde(rename = "final")]
    pub is_final: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeysReply {
    pub keys: Vec<PhoneKey>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PhoneKey {
    pub door: DoorId,
    pub door_name: String,
    pub grant: GrantId,
    pub validity: Validity,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateGet {
    pub door: DoorId,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ThreadSend {
    pub thread: ThreadId,
    pub text: String,
}
