//! The `[policy]` of the configuration file: how long a key may encrypt, how soon it may be destroyed, how old a
//! restore drill may be, where cipher suites stand.
//!
//! ```toml
//! [policy]
//! cryptoperiod = "365d"
//! drill-max-age = "90d"
//! suites = { aes-128-xts = { status = "deprecated", since = "2026-01-01" } }
//! ```

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;

use super::limits::{Size, Time};
use crate::crypto::{Standing, Suite, SuitePolicy, SuiteRule};

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
    /// How old the last restore drill of a backup or bundle may be, seconds; none: no limit.
    pub drill_max_age: Option<u64>,
}

impl Default for KeyPolicy {
    fn default() -> KeyPolicy {
        KeyPolicy { cryptoperiod: None, bytes: None, destroy_delay: DESTROY_DELAY, drill_max_age: None }
    }
}

/// The table. What it leaves out has its default.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct FilePolicy {
    cryptoperiod: Option<Time>,
    key_bytes: Option<Size>,
    destroy_delay: Option<Time>,
    drill_max_age: Option<Time>,
    suites: BTreeMap<String, FileRule>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct FileRule {
    status: String,
    since: Option<toml::Value>,
}

impl FilePolicy {
    /// What it says of keys, with the defaults for what is left out. `never` is for `cryptoperiod` and
    /// `drill-max-age` alone.
    pub fn keys(&self) -> Result<KeyPolicy, String> {
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
            drill_max_age: self.drill_max_age.and_then(|time| time.0).map(|age| age.as_secs()),
        })
    }

    /// What it says of suites.
    pub fn suites(&self) -> Result<SuitePolicy, String> {
        let rules = self.suites.iter().map(|(name, rule)| {
            let suite: Suite = name.parse().map_err(|error| format!("policy.suites: {error}"))?;
            let standing = Standing::from_name(&rule.status).ok_or_else(|| {
                format!("policy.suites.{name}: `{}` is none of allowed, deprecated, forbidden", rule.status)
            })?;
            let since = rule.since.as_ref().map(|since| day(name, since)).transpose()?;
            Ok((suite, SuiteRule { standing, since }))
        });
        Ok(SuitePolicy::new(rules.collect::<Result<Vec<_>, String>>()?))
    }
}

/// The beginning of a day (UTC), seconds since 1970.
fn day(name: &str, value: &toml::Value) -> Result<u64, String> {
    let text = match value {
        toml::Value::String(text) => text.clone(),
        toml::Value::Datetime(time) => time.to_string(),
        _ => "something else".into(),
    };
    let date = text.parse::<jiff::civil::Date>().ok();
    let start = date.and_then(|date| date.to_zoned(jiff::tz::TimeZone::UTC).ok());
    start
        .and_then(|start| u64::try_from(start.timestamp().as_second()).ok())
        .ok_or_else(|| format!("policy.suites.{name}: since is a day such as 2026-01-31, not `{text}`"))
}
