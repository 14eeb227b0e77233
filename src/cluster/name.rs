//! The name of a node, as it stands in its certificate, in the configuration of its peers and in records.
//!
//! Invariant: a name is a DNS label in small letters (RFC 1123, section 2.1), so that one text means one node everywhere.

use std::fmt;
use std::str::FromStr;

/// Longest name, bytes (RFC 1035, section 2.3.4).
pub const NAME_MAX: usize = 63;

/// The name of a node.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeName(String);

/// Why a text is no name of a node.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no name of a node: 1 to {NAME_MAX} of a-z, 0-9 and -, which neither begins nor ends it")]
pub struct BadName(String);

impl NodeName {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for NodeName {
    type Err = BadName;

    fn from_str(text: &str) -> Result<NodeName, BadName> {
        let is_inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let good = (1..=NAME_MAX).contains(&text.len())
            && text.bytes().all(is_inner)
            && !text.starts_with('-')
            && !text.ends_with('-');
        match good {
            true => Ok(NodeName(text.to_owned())),
            false => Err(BadName(text.chars().take(NAME_MAX + 1).collect())),
        }
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_dns_label() {
        for good in ["a", "node-1", "0", &"x".repeat(63)] {
            assert_eq!(good.parse::<NodeName>().map(|name| name.to_string()), Ok(good.to_owned()));
        }
        for bad in ["", "-a", "a-", "A", "a.b", "a b", "ä", &"x".repeat(64), "a\n"] {
            assert!(bad.parse::<NodeName>().is_err(), "{bad:?}");
        }
    }
}
