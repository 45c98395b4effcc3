//! The environments and rule sets that come with the program, embedded so that it is useful outside its repository. Owns
//! the ordered list of files; refuses to know what they say. Files on disk win over these.

/// Folder of the shipped environments.
pub const ENVIRONMENTS: &str = "environments";
/// Folder of the shipped WAF rule sets.
pub const RULE_SETS: &str = "policies/waf";

/// Path and text of every shipped file, in the order in which a newcomer should read them.
pub const FILES: &[(&str, &str)] = &[
    ("environments/base.toml", include_str!("../../environments/base.toml")),
    ("environments/dev.toml", include_str!("../../environments/dev.toml")),
    ("environments/staging.toml", include_str!("../../environments/staging.toml")),
    ("environments/production.toml", include_str!("../../environments/production.toml")),
    ("environments/tenants/acme.toml", include_str!("../../environments/tenants/acme.toml")),
    ("policies/waf/baseline.toml", include_str!("../../../policies/waf/baseline.toml")),
    ("policies/waf/api.toml", include_str!("../../../policies/waf/api.toml")),
];

/// A shipped file by its path.
pub fn file(path: &str) -> Option<(&'static str, &'static str)> {
    FILES.iter().find(|(shipped, _)| *shipped == path).copied()
}
