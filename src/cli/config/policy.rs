//! The `[policy]` of the configuration file: where cipher suites stand.
//!
//! ```toml
//! [policy]
//! suites = { aes-128-xts = { status = "deprecated", since = "2026-01-01" } }
//! ```

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::crypto::{Standing, Suite, SuitePolicy, SuiteRule};

/// The table.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct FilePolicy {
    suites: BTreeMap<String, FileRule>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct FileRule {
    status: String,
    since: Option<toml::Value>,
}

impl FilePolicy {
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
