//! What a comparison has found so far.
//!
//! Invariant: stretches are listed by place, neighbours of one kind as one, and at most so many; those beyond are counted.

use crate::cluster::name::NodeName;

/// Stretches of one kind that are listed at most: what drains does not crowd out what differs.
pub const LISTED_MAX: usize = 64;

/// How far a comparison has come; where another one may go on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cursor {
    /// Extents whose generations have been compared.
    pub extents: u64,
    /// Bytes of data that have been compared.
    pub bytes: u64,
}

/// What is the matter with a stretch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FindingKind {
    /// Replicas hold different data, or, none of them draining, different generations.
    Differs,
    /// Clients kept changing it.
    Busy,
    /// A replica cannot read it.
    Unreadable,
    /// Its extents are under different generations while replicas drain.
    Draining,
}

/// A stretch of the disk on which replicas are not simply equal.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// First byte.
    pub first: u64,
    /// The byte after the last one.
    pub end: u64,
    /// What is the matter.
    pub kind: FindingKind,
    /// The replicas that differ from most others, or cannot read; none if no majority is of one opinion.
    pub nodes: Vec<NodeName>,
}

/// A replica that is not compared any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// Whose it is.
    pub node: NodeName,
    /// Why.
    pub why: String,
}

/// Whether it goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It does.
    Running,
    /// All has been looked at by those that are not left out.
    Done,
    /// It could not go on.
    Failed(String),
}

/// Everything found so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Whether it goes on.
    pub outcome: Outcome,
    /// How far it has come.
    pub cursor: Cursor,
    /// Bytes of the disk compared, and in all.
    pub done: (u64, u64),
    /// Bytes that differ.
    pub differing: u64,
    /// Bytes that clients kept changing.
    pub busy: u64,
    /// Bytes that a replica cannot read.
    pub unreadable: u64,
    /// Bytes under different generations while replicas drain.
    pub draining: u64,
    /// The stretches, by place.
    pub findings: Vec<Finding>,
    /// Stretches that are not listed.
    pub unlisted: u64,
    /// Replicas that are not compared any more.
    pub left_out: Vec<LeftOut>,
}

impl Report {
    pub(super) fn new(cursor: Cursor) -> Report {
        Report {
            outcome: Outcome::Running,
            cursor,
            done: (0, 0),
            differing: 0,
            busy: 0,
            unreadable: 0,
            draining: 0,
            findings: Vec::new(),
            unlisted: 0,
            left_out: Vec::new(),
        }
    }

    /// Whether no more stretches that differ can be listed.
    pub(super) fn is_full(&self) -> bool {
        self.listed(FindingKind::Differs) >= LISTED_MAX
    }

    fn listed(&self, kind: FindingKind) -> usize {
        self.findings.iter().filter(|finding| finding.kind == kind).count()
    }

    pub(super) fn add(&mut self, finding: Finding) {
        let bytes = finding.end - finding.first;
        *match finding.kind {
            FindingKind::Differs => &mut self.differing,
            FindingKind::Busy => &mut self.busy,
            FindingKind::Unreadable => &mut self.unreadable,
            FindingKind::Draining => &mut self.draining,
        } += bytes;
        let place = self.findings.partition_point(|other| *other < finding);
        if let Some(before) = place.checked_sub(1).and_then(|index| self.findings.get_mut(index))
            && before.touches(&finding)
        {
            before.end = finding.end;
            let grown = before.clone();
            if self.findings.get(place).is_some_and(|after| grown.touches(after)) {
                let after = self.findings.remove(place);
                self.findings[place - 1].end = after.end;
            }
            return;
        }
        if let Some(after) = self.findings.get_mut(place)
            && finding.touches(after)
        {
            after.first = finding.first;
            return;
        }
        match self.listed(finding.kind) >= LISTED_MAX {
            true => self.unlisted += 1,
            false => self.findings.insert(place, finding),
        }
    }
}

impl Finding {
    fn touches(&self, next: &Finding) -> bool {
        self.kind == next.kind && self.nodes == next.nodes && self.end == next.first
    }
}
