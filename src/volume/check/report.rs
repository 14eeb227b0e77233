//! What a check found, as plain structs; the builder keeps a thousand equal findings from becoming a thousand lines.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::format::Damage;

/// Findings of one name that are listed one by one; the rest is counted.
const SAME_MAX: u64 = 32;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// Its stable name: the table in the module's documentation lists them.
    pub name: String,
    /// Which structure, and where.
    pub place: String,
    /// What was found there.
    pub what: String,
    /// What to do about it.
    pub hint: Option<&'static str>,
}

/// What still refers to one generation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Reference {
    /// The generation.
    pub generation: u32,
    /// Its key state.
    pub state: &'static str,
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
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
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct DataReport {
    /// Extents looked at.
    pub extents: u64,
    /// Bytes read from the device.
    pub bytes_read: u64,
    /// Bytes of holes: not allocated, or zero slices.
    pub bytes_holes: u64,
    /// Bytes both engines decrypted to the same plaintext.
    pub bytes_agreed: u64,
    /// Extents that could not be read, or whose key is missing.
    pub extents_unread: u64,
    /// Granules of extents with a live intent still under the old key.
    pub granules_old: u64,
    /// Granules of extents with a live intent already under the new key.
    pub granules_new: u64,
}

/// The outcome of a check.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CheckReport {
    /// No error was found. Without keys that means CRCs only.
    pub passed: bool,
    /// Whether keys were at hand: authenticity was judged.
    pub with_keys: bool,
    /// The volume's identity, if a superblock could be read.
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
    pub data: Option<DataReport>,
    /// What was rewritten.
    pub repaired: Vec<String>,
    /// Why the volume refused writes when the check began.
    pub poisoned: Option<String>,
    /// Whether the check has cleared that.
    pub poison_cleared: bool,
    #[serde(skip)]
    same: BTreeMap<String, u64>,
    #[serde(skip)]
    errors: u64,
}

impl CheckReport {
    /// Enters a finding.
    pub(super) fn add(
        &mut self,
        severity: Severity,
        name: impl Into<String>,
        place: impl Into<String>,
        what: impl Into<String>,
        hint: Option<&'static str>,
    ) {
        let name = name.into();
        self.errors += u64::from(severity == Severity::Error);
        let same = self.same.entry(name.clone()).or_insert(0);
        *same += 1;
        if *same <= SAME_MAX {
            self.findings.push(Finding { severity, name, place: place.into(), what: what.into(), hint });
        }
    }

    /// Something that was looked at and is right.
    pub(super) fn good(&mut self, place: impl Into<String>, what: impl Into<String>) {
        // Not counted among equals: there are only a few of these, each with a place of its own.
        let (place, what) = (place.into(), what.into());
        self.findings.push(Finding { severity: Severity::Ok, name: "ok".into(), place, what, hint: None });
    }

    /// Damage of a structure called `what` in names, at `place`.
    pub(super) fn damage(
        &mut self,
        severity: Severity,
        what: &str,
        place: impl Into<String>,
        damage: &Damage,
        hint: Option<&'static str>,
    ) {
        self.add(severity, format!("{what}-{}", kind(damage)), place, damage.to_string(), hint);
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
