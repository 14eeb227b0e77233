//! The `[policy]` of the configuration file: how long a key may encrypt, and how soon it may be destroyed.

use std::time::Duration;

use serde::Deserialize;

use super::limits::{Size, Time};

/// Time between scheduling the destruction of a key and the destruction, unless the policy says otherwise.
pub const DESTROY_DELAY: Duration = Duration::from_secs(7 * 24 * 3600);

/// What the operator wants of keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyPolicy {
    /// How long a key may encrypt; none: no limit.
    pub cryptoperiod: Option<Duration>,
    /// How many bytes it may encrypt; none: no limit.
    pub bytes: Option<u64>,
    /// The least time between scheduling a destruction and the destruction.
    pub destroy_delay: Duration,
}

impl Default for KeyPolicy {
    fn default() -> KeyPolicy {
        KeyPolicy { cryptoperiod: None, bytes: None, destroy_delay: DESTROY_DELAY }
    }
}

/// The table. What it leaves out has its default.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct FilePolicy {
    cryptoperiod: Option<Time>,
    key_bytes: Option<Size>,
    destroy_delay: Option<Time>,
}

impl FilePolicy {
    /// The policy, with the defaults for what is left out. `never` is for `cryptoperiod` alone.
    pub fn policy(&self) -> Result<KeyPolicy, String> {
        let destroy_delay = match self.destroy_delay {
            None => DESTROY_DELAY,
            Some(Time(Some(delay))) => delay,
            Some(Time(None)) => {
                return Err("`destroy-delay` needs a time; a key that shall stay is not scheduled".into());
            }
        };
        Ok(KeyPolicy {
            cryptoperiod: self.cryptoperiod.and_then(|time| time.0),
            bytes: self.key_bytes.map(|size| size.0),
            destroy_delay,
        })
    }
}
