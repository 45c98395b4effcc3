//! Logical identity. An address is a path that the program assigns (`network/subnet/private/a`); it is
//! never a display name and never derived from attributes, so a resource keeps it for life.
//! A [`Ref`] is how one resource's field names another before (and after) AWS has given that one an id.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// AWS allows 256 characters in a tag value; an address must fit into one.
pub const ADDRESS_CHARS_MAX: usize = 200;

/// The path of one resource inside its environment: lower-case segments joined by `/`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Address(String);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{given}` is not an address: {problem}; an address looks like `network/subnet/private/a`")]
pub struct BadAddress {
    pub given: String,
    pub problem: &'static str,
}

impl Address {
    /// An address the program itself writes. Use [`Address::from_str`] for what a person typed.
    ///
    /// # Panics
    /// Never for well-formed text: parts come from names the environment file has already validated.
    pub fn new(path: impl Into<String>) -> Self {
        Self::try_from(path.into()).expect("addresses are built from validated names")
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first segment: the layer a reader groups by.
    pub fn root(&self) -> &str {
        self.0.split('/').next().unwrap_or_default()
    }
}

impl TryFrom<String> for Address {
    type Error = BadAddress;

    fn try_from(given: String) -> Result<Self, BadAddress> {
        let problem = if given.is_empty() {
            "it is empty"
        } else if given.len() > ADDRESS_CHARS_MAX {
            "it is longer than 200 characters"
        } else if given.split('/').any(str::is_empty) {
            "it has an empty segment"
        } else if !given.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "/_.-*@".contains(c))
        {
            "it holds something else than a-z, 0-9, `_`, `.`, `-` and `/`"
        } else {
            return Ok(Self(given));
        };
        Err(BadAddress { given, problem })
    }
}

impl FromStr for Address {
    type Err = BadAddress;

    fn from_str(text: &str) -> Result<Self, BadAddress> {
        Self::try_from(text.to_owned())
    }
}

impl From<Address> for String {
    fn from(address: Address) -> Self {
        address.0
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A field that names a resource of kind `K`: `${address}` or `${address#attribute}` in a wanted resource,
/// the physical value once it is resolved, and always the physical value in an observed one.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
pub struct Ref<K> {
    text: String,
    #[serde(skip)]
    kind: PhantomData<fn() -> K>,
}

/// A reference whose target may be of several kinds (a route's target, a web ACL's association).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Any;

impl<K> Ref<K> {
    /// The id that AWS will give, or has given, to the resource at `address`.
    pub fn to(address: &Address) -> Self {
        Self::physical(format!("${{{address}}}"))
    }

    /// An attribute AWS gives it besides its id, such as `arn` or `endpoint`.
    pub fn attribute(address: &Address, attribute: &str) -> Self {
        Self::physical(format!("${{{address}#{attribute}}}"))
    }

    /// A known id: what discovery reads, or what an environment names that it does not own.
    pub fn physical(id: impl Into<String>) -> Self {
        Self { text: id.into(), kind: PhantomData }
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The same reference where any kind fits.
    pub fn any(self) -> Ref<Any> {
        Ref::physical(self.text)
    }
}

impl<K> fmt::Debug for Ref<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl<K> fmt::Display for Ref<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl<K> Clone for Ref<K> {
    fn clone(&self) -> Self {
        Self::physical(self.text.clone())
    }
}

impl<K> PartialEq for Ref<K> {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl<K> Eq for Ref<K> {}

impl<K> PartialOrd for Ref<K> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<K> Ord for Ref<K> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.text.cmp(&other.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_paths_of_lower_case_segments() {
        for good in ["network/vpc", "network/subnet/private/a", "services/app/role-1"] {
            assert_eq!(good.parse::<Address>().unwrap().as_str(), good);
        }
        for bad in ["", "/vpc", "a//b", "A/b", "a b", "ü", &"a".repeat(201)] {
            assert!(bad.parse::<Address>().is_err(), "{bad}");
        }
    }
}
