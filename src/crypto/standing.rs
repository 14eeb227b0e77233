//! Where each cipher suite stands: allowed, deprecated or forbidden, and from when on. What makes a change of algorithm an
//! ordinary matter: the day a suite is found weak, its line changes, and rotations do the rest.
//!
//! Invariants: a rule holds from its date on and not before; a suite without a rule is allowed. Nothing here keeps data from
//! being read: a forbidden suite is never a *new* target, that is all.

use std::collections::BTreeMap;

use crate::crypto::suite::Suite;

/// Where a suite stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// It may be used.
    #[default]
    Allowed,
    /// It may be used, and every place where it is says so.
    Deprecated,
    /// No new generation may have it.
    Forbidden,
}

impl Standing {
    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Standing::Allowed => "allowed",
            Standing::Deprecated => "deprecated",
            Standing::Forbidden => "forbidden",
        }
    }

    /// The standing that has this name.
    pub fn from_name(name: &str) -> Option<Standing> {
        [Standing::Allowed, Standing::Deprecated, Standing::Forbidden].into_iter().find(|it| it.name() == name)
    }
}

/// What is said of one suite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SuiteRule {
    /// Where it stands.
    pub standing: Standing,
    /// From when on, seconds since 1970; none: always.
    pub since: Option<u64>,
}

/// What is said of all suites.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SuitePolicy {
    rules: BTreeMap<u16, SuiteRule>,
}

/// What holds for a suite at some time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Where it stands.
    pub standing: Standing,
    /// The name of the rule that says so.
    pub rule: String,
    /// From when on, seconds since 1970.
    pub since: Option<u64>,
}

impl SuitePolicy {
    /// The policy that says this.
    pub fn new(rules: impl IntoIterator<Item = (Suite, SuiteRule)>) -> SuitePolicy {
        SuitePolicy { rules: rules.into_iter().map(|(suite, rule)| (suite.id(), rule)).collect() }
    }

    /// What holds for `suite` at `now`, seconds since 1970.
    pub fn verdict(&self, suite: Suite, now: u64) -> Verdict {
        let holds = |rule: &&SuiteRule| rule.since.is_none_or(|since| since <= now);
        let rule = self.rules.get(&suite.id()).filter(holds);
        Verdict {
            standing: rule.map_or(Standing::Allowed, |rule| rule.standing),
            rule: format!("policy.suites.{suite}"),
            since: rule.and_then(|rule| rule.since),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_holds_from_its_date_on() {
        let rule = |standing, since| SuiteRule { standing, since };
        let policy = SuitePolicy::new([
            (Suite::Aes128Xts, rule(Standing::Deprecated, Some(100))),
            (Suite::None, rule(Standing::Forbidden, None)),
        ]);
        assert_eq!(policy.verdict(Suite::Aes128Xts, 99).standing, Standing::Allowed);
        let verdict = policy.verdict(Suite::Aes128Xts, 100);
        assert_eq!((verdict.standing, verdict.since), (Standing::Deprecated, Some(100)));
        assert_eq!(verdict.rule, "policy.suites.aes-128-xts");
        assert_eq!(policy.verdict(Suite::None, 0).standing, Standing::Forbidden);
        assert_eq!(policy.verdict(Suite::Aes256Xts, 0).standing, Standing::Allowed);
        for standing in [Standing::Allowed, Standing::Deprecated, Standing::Forbidden] {
            assert_eq!(Standing::from_name(standing.name()), Some(standing));
        }
        assert_eq!(Standing::from_name("fine"), None);
    }
}
