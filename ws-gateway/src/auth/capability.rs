//! What a token allows: channels by pattern and action, methods by pattern. Centrifugo's shape of claims.

use keyway_protocol::channel::wildcard_matches;
use serde::Deserialize;

/// One claim of `caps`: `{"channels": ["site:acme.*"], "match": "wildcard", "allow": ["sub", "hst"]}`.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Claim {
    #[serde(default)]
    channels: Vec<String>,
    #[serde(default, rename = "match")]
    matching: String,
    #[serde(default)]
    allow: Vec<String>,
}

/// One thing that can be allowed on a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Allow {
    Subscribe = 1,
    Publish = 2,
    History = 4,
    Presence = 8,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Capabilities {
    rules: Box<[Rule]>,
    methods: Box<[String]>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Rule {
    pattern: String,
    wildcard: bool,
    allow: u8,
}

impl Capabilities {
    /// A way of matching that we do not have (regular expressions) allows nothing; neither does an unknown action.
    pub(super) fn new(claims: Vec<Claim>, methods: Vec<String>) -> Capabilities {
        let mut rules = Vec::new();
        for claim in claims {
            let wildcard = match claim.matching.as_str() {
                "" | "exact" => false,
                "wildcard" => true,
                _ => continue,
            };
            let allow = claim.allow.iter().fold(0, |bits, action| {
                bits | match action.as_str() {
                    "sub" => Allow::Subscribe as u8,
                    "pub" => Allow::Publish as u8,
                    "hst" => Allow::History as u8,
                    "prs" => Allow::Presence as u8,
                    _ => 0,
                }
            });
            rules.extend(claim.channels.into_iter().map(|pattern| Rule { pattern, wildcard, allow }));
        }
        Capabilities { rules: rules.into(), methods: methods.into() }
    }

    pub fn allows(&self, action: Allow, channel: &str) -> bool {
        self.rules.iter().any(|rule| {
            rule.allow & action as u8 != 0
                && if rule.wildcard {
                    wildcard_matches(&rule.pattern, channel)
                } else {
                    rule.pattern == channel
                }
        })
    }

    pub fn allows_method(&self, method: &str) -> bool {
        self.methods.iter().any(|pattern| wildcard_matches(pattern, method))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_and_actions() {
        let claims: Vec<Claim> = serde_json::from_str(
            r#"[{"channels":["site:acme.*"],"match":"wildcard","allow":["sub","hst"]},
                {"channels":["door:acme.d1","x*"],"allow":["sub","fly"]},
                {"channels":[".*"],"match":"regex","allow":["sub"]}]"#,
        )
        .unwrap();
        let capabilities = Capabilities::new(claims, vec!["door.*".into(), "time.sync".into()]);
        for (action, channel, expected) in [
            (Allow::Subscribe, "site:acme.1", true),
            (Allow::History, "site:acme.1", true),
            (Allow::Presence, "site:acme.1", false),
            (Allow::Subscribe, "site:other.1", false),
            (Allow::Subscribe, "door:acme.d1", true),
            (Allow::Publish, "door:acme.d1", false),
            (Allow::Subscribe, "xy", false),
        ] {
            assert_eq!(capabilities.allows(action, channel), expected, "{action:?} {channel}");
        }
        assert!(capabilities.allows_method("door.unlock") && capabilities.allows_method("time.sync"));
        assert!(!capabilities.allows_method("event.report") && !capabilities.allows_method("door"));
    }
}
