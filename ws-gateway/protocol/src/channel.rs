//! Channel names: `<namespace>:<tenant>.<id>`, personal `#<tenant>.<person>`. Owns the grammar and the pattern
//! match of capabilities; whether somebody may use a channel is decided elsewhere.

/// The client protocol's own bound.
pub const CHANNEL_BYTES_MAX: usize = 255;

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChannelFault {
    #[error("a channel name cannot be empty")]
    Empty,
    #[error("a channel name has at most 255 bytes")]
    TooLong,
    /// Control characters and spaces are for the bus's own channels and would break logs and keys.
    #[error("a channel name has only printable characters without spaces")]
    Unprintable,
}

/// A well-formed channel name, taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChannelName<'a> {
    full: &'a str,
}

impl<'a> ChannelName<'a> {
    pub fn parse(full: &'a str) -> Result<ChannelName<'a>, ChannelFault> {
        if full.is_empty() {
            return Err(ChannelFault::Empty);
        }
        if full.len() > CHANNEL_BYTES_MAX {
            return Err(ChannelFault::TooLong);
        }
        if full.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err(ChannelFault::Unprintable);
        }
        Ok(ChannelName { full })
    }

    pub fn as_str(&self) -> &'a str {
        self.full
    }

    /// `#...` belongs to one person and is subscribed by the server.
    pub fn is_personal(&self) -> bool {
        self.full.starts_with('#')
    }

    /// What stands before the first colon; channels without one, and personal ones, have none.
    pub fn namespace(&self) -> Option<&'a str> {
        if self.is_personal() { None } else { self.full.split_once(':').map(|(namespace, _)| namespace) }
    }

    /// What stands between the namespace (or `#`) and the first dot.
    pub fn tenant(&self) -> Option<&'a str> {
        let rest = match self.full.strip_prefix('#') {
            Some(rest) => rest,
            None => self.full.split_once(':').map_or(self.full, |(_, rest)| rest),
        };
        rest.split_once('.').map(|(tenant, _)| tenant)
    }
}

/// The personal channel of a user. Core's user ids are `<tenant>.<person>` already when they contain a dot.
pub fn personal(tenant: &str, user: &str) -> String {
    if tenant.is_empty() { format!("#{user}") } else { format!("#{tenant}.{user}") }
}

/// `*` stands for any run of characters, also none. Linear in practice and never worse than the product of the
/// two lengths, which are both at most 255.
pub fn wildcard_matches(pattern: &str, name: &str) -> bool {
    let (pattern, name) = (pattern.as_bytes(), name.as_bytes());
    let (mut p, mut n) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while n < name.len() {
        if p < pattern.len() && pattern[p] == b'*' {
            retry = Some((p, n));
            p += 1;
        } else if p < pattern.len() && pattern[p] == name[n] {
            p += 1;
            n += 1;
        } else if let Some((star, from)) = retry {
            retry = Some((star, from + 1));
            p = star + 1;
            n = from + 1;
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_apart() {
        let cases: &[(&str, Option<&str>, Option<&str>)] = &[
            ("site:acme.site_1", Some("site"), Some("acme")),
            ("#acme.per_1", None, Some("acme")),
            ("plain", None, None),
            ("a:b:c.d", Some("a"), Some("b:c")),
            ("#u", None, None),
        ];
        for (name, namespace, tenant) in cases {
            let parsed = ChannelName::parse(name).unwrap();
            assert_eq!((parsed.namespace(), parsed.tenant()), (*namespace, *tenant), "{name}");
        }
    }

    #[test]
    fn bad_names_are_refused() {
        let long = "a".repeat(256);
        for (name, fault) in [
            ("", ChannelFault::Empty),
            (" control", ChannelFault::Unprintable),
            ("a\nb", ChannelFault::Unprintable),
            (long.as_str(), ChannelFault::TooLong),
        ] {
            assert_eq!(ChannelName::parse(name), Err(fault), "{name:?}");
        }
    }

    #[test]
    fn wildcards() {
        for (pattern, name, expected) in [
            ("site:acme.*", "site:acme.site_1", true),
            ("site:acme.*", "site:acmeother.site_1", false),
            ("site:acme.*", "xsite:acme.site_1", false),
            ("*", "", true),
            ("", "", true),
            ("", "a", false),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-b-b-d", false),
            ("door:*.door_7", "door:acme.door_7", true),
            ("exact", "exact", true),
            ("exact", "exactly", false),
        ] {
            assert_eq!(wildcard_matches(pattern, name), expected, "{pattern} on {name}");
        }
    }
}
