//! What each family of channels offers: history, presence, joins, who may do what without a capability. Data and
//! lookups; the gateway has no opinion about doors, only these options.

use std::collections::BTreeMap;

use keyway_bus::PublishOptions;
use keyway_protocol::ChannelName;
use serde::Deserialize;

/// The namespace of personal channels (`#...`) in the configuration.
pub const PERSONAL: &str = "#";
/// The namespace of channels without a colon.
pub const PLAIN: &str = "";

#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub struct ChannelOptions {
    /// Publications kept; 0 means no history, no positions and no recovery.
    pub history_size: u32,
    pub history_ttl_s: u64,
    /// Recovery gives the latest publication only: right for state.
    pub cache: bool,
    pub presence: bool,
    pub join_leave: bool,
    /// Any connected client may do this, without a capability in its token.
    pub allow_subscribe: bool,
    pub allow_publish: bool,
    pub allow_history: bool,
    pub allow_presence: bool,
}

impl ChannelOptions {
    /// What a channel without a namespace offers in development, where any name is to work.
    pub fn development() -> ChannelOptions {
        ChannelOptions {
            history_size: 100,
            history_ttl_s: 600,
            presence: true,
            join_leave: true,
            ..ChannelOptions::default()
        }
    }

    pub fn has_history(&self) -> bool {
        self.history_size > 0 && self.history_ttl_s > 0
    }

    pub fn publish_options(&self) -> PublishOptions {
        if self.has_history() {
            PublishOptions::with_history(self.history_size, self.history_ttl_s * 1000)
        } else {
            PublishOptions::default()
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Namespaces(BTreeMap<String, ChannelOptions>);

impl Namespaces {
    pub fn new(by_name: BTreeMap<String, ChannelOptions>) -> Namespaces {
        Namespaces(by_name)
    }

    /// None: no such namespace, error 102.
    pub fn options(&self, channel: &ChannelName<'_>) -> Option<&ChannelOptions> {
        let name = if channel.is_personal() { PERSONAL } else { channel.namespace().unwrap_or(PLAIN) };
        self.0.get(name)
    }

    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        for (name, options) in &self.0 {
            if (options.history_size > 0) != (options.history_ttl_s > 0) {
                faults.push(format!(
                    "namespaces.{name:?}: history_size = {} with history_ttl_s = {}; set both, or neither",
                    options.history_size, options.history_ttl_s
                ));
            }
            if options.cache && !options.has_history() {
                faults.push(format!(
                    "namespaces.{name:?}: cache = true needs history_size = 1 and history_ttl_s"
                ));
            }
            if name.contains([':', '.', ' ']) {
                faults.push(format!("namespaces.{name:?}: a namespace has no colon, dot or space"));
            }
        }
        faults
    }
}
