//! People, groups and roles. Owns who somebody is to the tenant; refuses to know names beyond the field that shows
//! them: nothing here travels to a door but the id.

use crate::id::{GroupId, PersonId};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PersonState {
    #[default]
    Active,
    Suspended,
    Left,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PersonKind {
    #[default]
    Member,
    /// Came by a guest link; has exactly the grant of that link.
    Guest,
}

/// What somebody may do in the API. Which doors they may open is a matter of grants, not of roles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    Admin,
    Security,
    Installer,
    Member,
    Responder,
    Auditor,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    pub id: GroupId,
    pub name: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Person {
    pub id: PersonId,
    pub name: String,
    #[serde(default)]
    pub kind: PersonKind,
    #[serde(default)]
    pub state: PersonState,
    #[serde(default)]
    pub roles: Vec<Role>,
    #[serde(default)]
    pub groups: Vec<GroupId>,
    /// Doors stay unlocked longer for this person.
    #[serde(default)]
    pub extended_time: bool,
}
