//! One pass over all metadata, from what needs nothing to what needs everything else.
//!
//! Invariant: a later step runs only if what it believes in has passed; a step that cannot run says nothing, since the
//! reason is a finding already.

use std::sync::Arc;

use super::keys::Keys;
use super::references::{Counts, references};
use super::report::{CheckReport, Severity};
use super::ring::RingScan;
use super::structures::{self, Twins};
use super::tags::TagScan;
use super::{keys, ring, tags};
use crate::engine::Disk;
use crate::format::generations::GenerationTable;
use crate::format::superblock::Superblock;
use crate::keys::Kek;
use crate::volume::info::{Bytes, Copies};

const NO_KEY: &str = "give --kek to authenticate the metadata, open the wraps and read the data";

/// What a survey looks at.
pub(super) struct Survey<'a> {
    pub data: Arc<dyn Disk>,
    pub header: Arc<dyn Disk>,
    pub detached: bool,
    pub keks: Option<&'a [Kek]>,
}

/// What it has found out.
#[derive(Default)]
pub(super) struct Found {
    pub report: CheckReport,
    pub superblock: Option<(Superblock, Twins)>,
    pub table: Option<(GenerationTable, Twins)>,
    pub keys: Option<Keys>,
    pub tags: Option<TagScan>,
    pub ring: Option<RingScan>,
}

impl Survey<'_> {
    /// Looks at everything but the data.
    pub fn run(&self) -> Found {
        let mut found = Found::default();
        found.report.with_keys = self.keks.is_some();
        self.look(&mut found);
        found
    }

    /// `None` where the rest cannot be looked at.
    fn look(&self, found: &mut Found) -> Option<()> {
        let header = Bytes::of(&*self.header);
        if self.keks.is_none() {
            let what = "no key was given: structures are judged by their CRCs, which anybody can forge";
            found.report.add(Severity::Note, "no-key", "the whole volume", what, Some(NO_KEY));
        }
        let superblocks = Copies::superblocks(&header);
        let superblock = structures::superblock(&mut found.report, &superblocks)?;
        found.report.volume = Some(superblock.volume.to_string());
        structures::same_volume(&mut found.report, &superblocks);
        structures::backings(&mut found.report, &superblock, self)?;
        let tables = Copies::tables(&header, &superblock);
        let table = structures::table(&mut found.report, &tables);
        if let (Some(keks), Some(table)) = (self.keks, &table) {
            found.keys = keys::metadata(&mut found.report, &superblock, table, keks);
        }
        let seal = found.keys.as_ref().map(|keys| &keys.derived.seal);
        let twins = structures::judge(&mut found.report, "superblock", &superblocks, seal);
        let table_twins = structures::judge(&mut found.report, "table", &tables, seal);
        if !superblock.poisoned.is_empty() {
            note_poison(&mut found.report, &superblock.poisoned);
        }
        let mut twins = twins;
        structures::growth(&mut found.report, &superblock, &superblocks, &mut twins);
        found.superblock = Some((superblock, twins?));
        found.table = Some((table?, table_twins?));
        self.look_deeper(found)
    }

    /// Both main structures are there; with keys, the keys have opened and both are authentic.
    fn look_deeper(&self, found: &mut Found) -> Option<()> {
        let (superblock, _) = found.superblock.as_ref()?;
        let (table, _) = found.table.as_ref()?;
        if self.keks.is_some() && found.keys.is_none() {
            return None;
        }
        let report = &mut found.report;
        if let (Some(keks), Some(keys)) = (self.keks, found.keys.as_mut()) {
            keys::generations(report, superblock, table, keks, keys, &*self.header);
        }
        let keys = found.keys.as_ref();
        structures::table_coherence(report, table);
        let stamp = structures::read_stamp(superblock, &*self.data);
        structures::stamp(report, superblock, keys.map(|keys| &keys.derived.seal), &stamp);
        let tags = tags::scan(report, superblock, keys.map(|keys| &keys.derived), &*self.header);
        let ring = ring::scan(report, superblock, keys.map(|keys| &keys.derived.seal), &*self.header);
        if let (Some(tags), Some(ring)) = (&tags, ring.as_ref()) {
            let effective = ring::against_tags(report, superblock, table, tags, ring);
            references(report, table, &Counts::of(table, tags, ring, &effective));
        }
        (found.tags, found.ring) = (tags, ring);
        Some(())
    }
}

/// Names a poisoned volume.
pub(super) fn note_poison(report: &mut CheckReport, reason: &str) {
    report.poisoned = Some(reason.to_owned());
    let hint = "once the device is trusted again: volume check --full --repair, with the keys";
    let what = format!("writes are refused: {reason}");
    report.add(Severity::Warning, "poisoned", "the superblock", what, Some(hint));
}
