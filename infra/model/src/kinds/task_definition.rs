//! A revision of a task definition. AWS changes none in place: another value is another revision, made first.
//! Its id is the ARN with the revision; discovery shows the newest active one of a family.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Field, Kind, KindId, Layer, LogGroup, Ref, Role, Spec};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskDefinition {
    pub family: String,
    /// CPU units: 256 to 16384.
    pub cpu: u32,
    pub memory_mib: u32,
    /// `X86_64` or `ARM64`.
    pub architecture: String,
    /// The role's `arn`: pulls the image, writes logs, reads the secrets of `secrets`.
    pub execution_role: Ref<Role>,
    /// The role's `arn`: what the program itself may do.
    pub task_role: Ref<Role>,
    pub containers: Vec<Container>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Container {
    pub name: String,
    pub image: String,
    pub port: Option<u16>,
    pub command: Option<Vec<String>>,
    /// Values may hold references: `rediss://${data/redis#endpoint}:6379`.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
    /// Variable name to secret ARN (or `arn:json-key::`).
    #[serde(default)]
    pub secrets: BTreeMap<String, String>,
    pub log_group: Ref<LogGroup>,
    pub log_region: String,
    pub log_prefix: String,
    pub read_only_root: Option<bool>,
    /// `1000:1000`.
    pub user: Option<String>,
    pub stop_timeout_s: Option<u32>,
    /// Soft and hard limit of open files; sockets are files.
    pub open_files: Option<u32>,
}

impl Kind for TaskDefinition {
    const ID: KindId = KindId::TaskDefinition;
    const SPEC: Spec = Spec::new(
        "task_definition",
        "task definition",
        Layer::Compute,
        &[
            Field::fixed("family"),
            Field::fixed("cpu"),
            Field::fixed("memory_mib"),
            Field::fixed("architecture"),
            Field::fixed("execution_role"),
            Field::fixed("task_role"),
            Field::fixed("containers").refers(&[KindId::LogGroup]),
        ],
    )
    .create_first()
    .tells(&["containers", "cpu", "memory_mib", "architecture"]);
}
