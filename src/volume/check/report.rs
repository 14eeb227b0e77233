//! What a check found, as plain structs; the builder keeps a thousand equal findings from becoming a thousand lines.
//!
//! Invariants: the JSON of a report, offline and online, is these structs by these names, which do not change their
//! meaning (`openapi.json` describes them as `CheckReport`); every finding that is not "ok" leaves with what it means and,
//! where something can be done, what to do ([`super::catalogue`]); absent optional fields are left out.

use std::collections::BTreeMap;
use std::fmt::Display;

use serde::{Deserialize, Serialize};

use super::catalogue;
use crate::format::Damage;

/// Findings of one name that are listed one by one; the rest is counted.
const SAME_MAX: u64 = 32;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Looked at and found right.
    Ok,
    /// Worth knowing.
    Note,
    /// Damaged, but nothing is lost: a twin stands in.
    Warning,
    /// The check fails.
    Error,
}

/// One thing a check found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// Its stable name: the table in the module's documentation lists them.
    pub name: String,
    /// Which structure, which copy, and where.
    pub place: String,
    /// The backing `offset` counts on: `header` (the data backing's own, where the header is attached) or `data`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backing: Option<String>,
    /// Its first byte there, where it has one place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
    /// What was found there.
    pub what: String,
    /// What that means for the volume; none for what is right.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub means: Option<String>,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// Where a finding is: in words and, where it has one, as a byte offset on a backing.
#[derive(Clone, Debug)]
pub(super) struct Place {
    text: String,
    on: Option<(&'static str, u64)>,
}

impl Place {
    /// A place on the header backing.
    pub fn header(what: impl Display, offset: u64) -> Place {
        Place { text: format!("{what}, header offset {offset}"), on: Some(("header", offset)) }
    }

    /// A place on the data backing.
    pub fn data(what: impl Display, offset: u64) -> Place {
        Place { text: format!("{what}, data offset {offset}"), on: Some(("data", offset)) }
    }
}

impl<T: Into<String>> From<T> for Place {
    fn from(text: T) -> Place {
        Place { text: text.into(), on: None }
    }
}

/// What still refers to one generation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reference {
    /// The generation.
    pub generation: u32,
    /// Its key state.
    pub state: String,
    /// Its cipher suite.
    pub suite: String,
    /// Whether extents are rewritten to it.
    pub is_target: bool,
    /// Extents whose tag it is, the ring's commits applied.
    pub extents: u64,
    /// Tags of the checkpointed pages that name it.
    pub page_tags: u64,
    /// Records after the ring's tail that name it, in an intent or a commit.
    pub ring_records: u64,
    /// Intents that nothing settles and that name it.
    pub live_intents: u64,
    /// Whether the check proves, by authenticated metadata, that nothing durable refers to it.
    pub proven_empty: bool,
}

/// An intent that the next open will roll forward.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveIntentReport {
    /// Which extent.
    pub extent: u32,
    /// The generation it carries.
    pub old: u32,
    /// The generation it will carry.
    pub new: u32,
    /// The record that says so.
    pub record: u64,
}

/// What reading every extent found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataReport {
    /// Extents looked at.
    pub extents: u64,
    /// Bytes read from the device.
    pub bytes_read: u64,
    /// Bytes of holes: not allocated, or zero slices.
    pub bytes_holes: u64,
    /// Bytes both engines decrypted to the same plaintext.
    pub bytes_agreed: u64,
    /// Bytes not read because the rotation was rewriting them at that moment, from memory (online only).
    #[serde(default)]
    pub bytes_moving: u64,
    /// Extents that could not be read, or whose key is missing.
    pub extents_unread: u64,
    /// Granules of extents with a live intent still under the old key.
    pub granules_old: u64,
    /// Granules of extents with a live intent already under the new key.
    pub granules_new: u64,
}

/// The outcome of a check.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckReport {
    /// No error was found. Without keys that means CRCs only.
    pub passed: bool,
    /// Whether the volume was being served meanwhile.
    #[serde(default)]
    pub online: bool,
    /// Whether keys were at hand: authenticity was judged.
    pub with_keys: bool,
    /// The volume's identity, if a superblock could be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume: Option<String>,
    /// Everything found, in the order of looking.
    pub findings: Vec<Finding>,
    /// Extents by generation, the ring's commits applied.
    pub census: BTreeMap<u32, u64>,
    /// What refers to each generation.
    pub references: Vec<Reference>,
    /// Intents the next open will roll forward.
    pub live_intents: Vec<LiveIntentReport>,
    /// The data, where `full` was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<DataReport>,
    /// What was rewritten.
    pub repaired: Vec<String>,
    /// Why the volume refused writes when the check began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub poisoned: Option<String>,
    /// Whether the check has cleared that.
    pub poison_cleared: bool,
    #[serde(skip)]
    same: BTreeMap<String, u64>,
    #[serde(skip)]
    errors: u64,
}

impl CheckReport {
    /// Enters a finding; without a hint it gets the catalogue's.
    pub(super) fn add(
        &mut self,
        severity: Severity,
        name: impl Into<String>,
        place: impl Into<Place>,
        what: impl Into<String>,
        hint: Option<&'static str>,
    ) {
        let name = name.into();
        let entry = catalogue::entry(&name);
        let hint = hint.or(entry.and_then(|entry| entry.hint)).map(str::to_owned);
        let means = entry.map(|entry| entry.means.to_owned());
        let Place { text, on } = place.into();
        let (backing, offset) = (on.map(|(backing, _)| backing.to_owned()), on.map(|(_, offset)| offset));
        self.errors += u64::from(severity == Severity::Error);
        self.enter(Finding { severity, name, place: text, backing, offset, what: what.into(), means, hint });
    }

    fn enter(&mut self, finding: Finding) {
        let same = self.same.entry(finding.name.clone()).or_insert(0);
        *same += 1;
        if *same <= SAME_MAX {
            self.findings.push(finding);
        }
    }

    /// Something that was looked at and is right.
    pub(super) fn good(&mut self, place: impl Into<Place>, what: impl Into<String>) {
        // Not counted among equals: there are only a few of these, each with a place of its own.
        let Place { text, on } = place.into();
        let (backing, offset) = (on.map(|(backing, _)| backing.to_owned()), on.map(|(_, offset)| offset));
        let (name, what) = ("ok".into(), what.into());
        let finding =
            Finding { severity: Severity::Ok, name, place: text, backing, offset, what, means: None, hint: None };
        self.findings.push(finding);
    }

    /// Damage of a structure called `what` in names, at `place`.
    pub(super) fn damage(
        &mut self,
        severity: Severity,
        what: &str,
        place: impl Into<Place>,
        damage: &Damage,
        hint: Option<&'static str>,
    ) {
        self.add(severity, format!("{what}-{}", kind(damage)), place, damage.to_string(), hint);
    }

    /// Enters all findings of `other`, a part of this check.
    pub(super) fn absorb(&mut self, other: CheckReport) {
        self.errors += other.errors;
        for (name, count) in &other.same {
            *self.same.entry(name.clone()).or_insert(0) += count.saturating_sub(SAME_MAX);
        }
        for finding in other.findings {
            match finding.severity {
                Severity::Ok => self.findings.push(finding),
                _ => self.enter(finding),
            }
        }
        self.live_intents.extend(other.live_intents);
        self.references.extend(other.references);
    }

    /// Whether anything was found that is not right.
    pub(super) fn is_suspicious(&self) -> bool {
        self.findings.iter().any(|finding| finding.severity != Severity::Ok)
    }

    /// Errors so far.
    pub(super) fn errors(&self) -> u64 {
        self.errors
    }

    /// The findings of one name.
    pub fn named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Finding> + 'a {
        self.findings.iter().filter(move |finding| finding.name == name)
    }

    /// Counts what was not listed, and judges.
    pub(super) fn finish(mut self) -> CheckReport {
        for (name, count) in std::mem::take(&mut self.same) {
            if count > SAME_MAX {
                let what = format!("{} more findings {name:?} are not listed", count - SAME_MAX);
                self.add(Severity::Note, "more", "the whole volume", what, None);
            }
        }
        self.same.clear();
        self.passed = self.errors == 0;
        self
    }
}

fn kind(damage: &Damage) -> &'static str {
    match damage {
        Damage::NotThis { .. } => "missing",
        Damage::Zero { .. } => "zero",
        Damage::Newer { .. } => "newer",
        Damage::Crc { .. } => "crc",
        Damage::Mac { .. } => "mac",
        Damage::Field { .. } => "field",
    }
}
