//! Placeholders in environment variables: `${redis.url}` and the like, for programs with names of their own. Owns the list of what
//! can be asked for; refuses to know the values (the blueprint has those).

/// What a variable can ask for: the name, and what must be declared for it.
pub(crate) const PLACEHOLDERS: &[(&str, Needs)] = &[
    ("environment", Needs::Nothing),
    ("prefix", Needs::Nothing),
    ("region", Needs::Nothing),
    ("redis.host", Needs::Store("redis")),
    ("redis.url", Needs::Store("redis")),
    ("postgres.host", Needs::Store("postgres")),
    ("postgres.database", Needs::Store("postgres")),
    ("postgres.user", Needs::Store("postgres")),
    ("load_balancer.host", Needs::LoadBalancer),
    ("load_balancer.url", Needs::LoadBalancer),
    ("load_balancer.socket_url", Needs::LoadBalancer),
];

/// What must be declared for a placeholder to have a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Needs {
    Nothing,
    /// The service must name the store in `uses`, or it could not reach it.
    Store(&'static str),
    LoadBalancer,
}

/// The names asked for in a text, in order.
pub(crate) fn asked(text: &str) -> Vec<&str> {
    let mut names = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        let Some(end) = rest[start..].find('}') else { break };
        names.push(&rest[start + 2..start + end]);
        rest = &rest[start + end + 1..];
    }
    names
}

/// The name behind a `${` that nothing closes, as far as it can be one.
pub(crate) fn unclosed(text: &str) -> Option<&str> {
    let open = text.rfind("${").filter(|open| !text[*open..].contains('}'))?;
    let name = &text[open + 2..];
    let end = name.find(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '_' | '.' | '-'));
    Some(&name[..end.unwrap_or(name.len())])
}

/// The text with every placeholder replaced.
pub(crate) fn fill(text: &str, value: impl Fn(&str) -> Option<String>) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        let Some(end) = rest[start..].find('}') else { break };
        out.push_str(&rest[..start]);
        match value(&rest[start + 2..start + end]) {
            Some(value) => out.push_str(&value),
            None => out.push_str(&rest[start..=start + end]),
        }
        rest = &rest[start + end + 1..];
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_found_and_filled() {
        assert_eq!(asked("${redis.url}/0?x=${region}"), ["redis.url", "region"]);
        assert_eq!(asked("$HOME ${unclosed"), Vec::<&str>::new());
        assert_eq!(unclosed("${redis.url}/0 ${load_balancer.host/x"), Some("load_balancer.host"));
        assert_eq!(unclosed("$HOME ${region} $"), None);
        let value = |name: &str| (name == "region").then(|| "eu".to_owned());
        assert_eq!(fill("a-${region}-${other}-${unclosed", value), "a-eu-${other}-${unclosed");
    }
}
