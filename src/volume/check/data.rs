//! `--full`: every extent from the device, decrypted by both engines under the generation its tag names.
//!
//! XTS authenticates nothing: what is proven is that the device gives every byte back, that the key of every extent is
//! at hand, and that both engines make the same plaintext of it. Extents with a live intent are classified granule by
//! granule and decrypted under both keys.

use std::ops::Range;
use std::sync::Arc;

use super::report::{CheckReport, DataReport, Place, Severity};
use super::ring::against_tags;
use super::survey::{Found, Survey};
use crate::crypto::fingerprint::Fingerprinter;
use crate::engine::Disk;
use crate::format::generations::{GenerationTable, KeyState};
use crate::format::superblock::Superblock;
use crate::units::{BLOCK, Generation, HOLE_SLICE, align_down, align_up};
use crate::volume::holes::is_zero;
use crate::volume::keyring::{GenerationKey, Keyring};
use crate::volume::replay::{LiveIntent, Side, classify, expected};

/// Bytes read at a time.
pub(super) const STEP: u64 = 1 << 20;

/// Reads ranges of a volume and decrypts them twice.
pub(super) struct Reader<'a> {
    disk: &'a dyn Disk,
    superblock: &'a Superblock,
    keyring: &'a Keyring,
    prints: Option<Fingerprinter>,
    /// What was read so far.
    pub report: DataReport,
    buf: Vec<u8>,
    plain: [Vec<u8>; 2],
}

/// Reads everything, if tags, ring and keys are known.
pub(super) fn read_all(survey: &Survey<'_>, found: &mut Found, progress: &mut dyn FnMut(u64, u64)) {
    let (Some((superblock, _)), Some((table, _)), Some(tags), Some(ring), Some(keys)) =
        (&found.superblock, &found.table, &found.tags, &found.ring, &found.keys)
    else {
        let what = "not read: that takes the keys, and metadata that can be believed";
        return found.report.add(Severity::Note, "data-not-read", "data", what, None);
    };
    // The survey has reported what this finds; here only the outcome counts.
    let effective = against_tags(&mut CheckReport::default(), superblock, table, tags, ring);
    let prints = Fingerprinter::new(crate::crypto::Secret::filled(keys.derived.prints.len(), |bytes| {
        bytes.copy_from_slice(keys.derived.prints.expose());
    }));
    let mut reader = Reader::new(&*survey.data, superblock, &keys.ring, Some(prints));
    let size = superblock.shape.size;
    for (extent, tag) in (0u32..).zip(&tags.tags) {
        let live = effective.live.binary_search_by_key(&extent, |live| live.intent.extent.0);
        let live = live.ok().map(|index| &effective.live[index]);
        let tag = effective.tag(extent, *tag);
        match is_revoked(table, tag) {
            true => reader.pass_over(&mut found.report, tag),
            false => reader.extent(&mut found.report, extent, tag.0, live),
        }
        progress(superblock.shape.extent_range(extent).1, size);
    }
    let data = reader.report;
    summary(&mut found.report, data);
}

/// Whether the key of `tag` was withdrawn: that nobody reads its extents is what was asked for.
pub(super) fn is_revoked(table: &GenerationTable, tag: Generation) -> bool {
    table.entry(tag).is_some_and(|entry| entry.state == KeyState::Revoked)
}

/// Enters what was read.
pub(super) fn summary(report: &mut CheckReport, data: DataReport) {
    let mut what = format!(
        "{} extents: {} bytes read, {} bytes of holes, {} bytes decrypted alike by both engines",
        data.extents, data.bytes_read, data.bytes_holes, data.bytes_agreed
    );
    if data.bytes_moving > 0 {
        what.push_str(&format!(", {} bytes being rewritten at that moment", data.bytes_moving));
    }
    match data.extents_unread {
        0 => report.good("data", what),
        _ => report.add(Severity::Note, "data-partly", "data", what, None),
    }
    report.data = Some(data);
}

impl<'a> Reader<'a> {
    /// A reader of the data zone of `disk`; `prints` tells the sides of live intents.
    pub fn new(
        disk: &'a dyn Disk,
        superblock: &'a Superblock,
        keyring: &'a Keyring,
        prints: Option<Fingerprinter>,
    ) -> Reader<'a> {
        let buf = vec![0; STEP as usize];
        let report = DataReport::default();
        Reader { disk, superblock, keyring, prints, report, buf, plain: [Vec::new(), Vec::new()] }
    }

    /// An extent whose key was withdrawn.
    pub fn pass_over(&mut self, report: &mut CheckReport, tag: Generation) {
        self.report.extents += 1;
        self.report.extents_unread += 1;
        self.note_revoked(report, tag);
    }

    /// Says once of each generation that its extents are not read.
    pub fn note_revoked(&self, report: &mut CheckReport, tag: Generation) {
        let place = format!("generation {tag}");
        if !report.findings.iter().any(|finding| finding.name == "data-revoked" && finding.place == place) {
            report.add(Severity::Note, "data-revoked", place, "its key is revoked, so its extents are not read", None);
        }
    }

    fn extent(&mut self, report: &mut CheckReport, extent: u32, tag: u32, live: Option<&LiveIntent>) {
        self.report.extents += 1;
        let generations = match live {
            Some(live) => vec![live.intent.old, live.intent.new],
            None => vec![Generation(tag)],
        };
        let keys: Vec<_> = generations.iter().filter_map(|generation| self.keyring.get(*generation)).collect();
        let whole = if keys.len() < generations.len() {
            let what = "its key is not at hand, so it was not read";
            report.add(Severity::Error, "data-key", format!("extent {extent}, generation {tag}"), what, None);
            false
        } else {
            let (first, end) = self.superblock.shape.extent_range(extent);
            self.range(report, extent, tag, first..end, &keys, live)
        };
        self.report.extents_unread += u64::from(!whole);
    }

    /// Reads the bytes `range` of the volume, all of them in `extent`; false if the device does not give them back.
    pub fn range(
        &mut self,
        report: &mut CheckReport,
        extent: u32,
        tag: u32,
        range: Range<u64>,
        keys: &[Arc<GenerationKey>],
        live: Option<&LiveIntent>,
    ) -> bool {
        let read = self.runs(report, extent, range.clone(), keys, live);
        if let Err((at, error)) = &read {
            let place =
                Place::data(format_args!("extent {extent}, generation {tag}"), self.superblock.zones.data.offset + at);
            let what = format!("the device does not give back byte {at} of the volume: {error}");
            report.add(Severity::Error, "data-unreadable", place, what, None);
        }
        read.is_ok()
    }

    /// The error names the first byte of the volume that cannot be had, to a block.
    fn runs(
        &mut self,
        report: &mut CheckReport,
        extent: u32,
        range: Range<u64>,
        keys: &[Arc<GenerationKey>],
        live: Option<&LiveIntent>,
    ) -> Result<(), (u64, std::io::Error)> {
        let first = self.superblock.shape.extent_range(extent).0;
        let base = self.superblock.zones.data.offset;
        let (mut at, end) = (range.start, range.end);
        while at < end {
            let data = self.disk.next_data(base + at, base + end).map_err(|error| (at, error))?;
            // Whole blocks: a run may begin or end inside one where the device's own blocks are smaller.
            let from = data.map_or(end, |data| align_down(data - base, BLOCK).max(at));
            self.report.bytes_holes += from - at;
            if from >= end {
                break;
            }
            let hole = self.disk.next_hole(base + from, base + end).map_err(|error| (from, error))? - base;
            let to = align_up(hole.max(from + 1), BLOCK).min(end).min(from + STEP);
            let len = (to - from) as usize;
            if let Err(error) = self.disk.read_at(base + from, &mut self.buf[..len]) {
                return Err((self.first_bad(from, to), error));
            }
            self.report.bytes_read += len as u64;
            if let Some(live) = live {
                self.sides(live, from - first, len);
            }
            self.agree(report, extent, from, len, keys);
            at = to;
        }
        Ok(())
    }

    /// The first block of `from..to` that cannot be read alone.
    fn first_bad(&mut self, from: u64, to: u64) -> u64 {
        let base = self.superblock.zones.data.offset;
        let mut blocks = (from..to).step_by(BLOCK as usize);
        let bad = blocks.find(|at| {
            let len = BLOCK.min(to - at) as usize;
            self.disk.read_at(base + at, &mut self.buf[..len]).is_err()
        });
        bad.unwrap_or(from)
    }

    fn sides(&mut self, live: &LiveIntent, inside: u64, len: usize) {
        let granule = self.superblock.shape.granule as usize;
        let index = inside as usize / granule;
        for (step, bytes) in self.buf[..len].chunks(granule).enumerate() {
            let side = match (&self.prints, expected(&live.intent, index + step)) {
                (Some(prints), Some(print)) => Some(classify(prints, print, bytes)),
                _ => None,
            };
            match side {
                Some(Side::Old) => self.report.granules_old += 1,
                Some(Side::New) | None => self.report.granules_new += 1,
                Some(Side::Hole) => {}
            }
        }
    }

    fn agree(&mut self, report: &mut CheckReport, extent: u32, offset: u64, len: usize, keys: &[Arc<GenerationKey>]) {
        let bytes = &self.buf[..len];
        let holes = bytes.chunks(HOLE_SLICE).filter(|slice| is_zero(slice)).count() * HOLE_SLICE;
        self.report.bytes_holes += holes as u64;
        if holes == len {
            return;
        }
        let mut same = true;
        for key in keys {
            for (plain, cipher) in self.plain.iter_mut().zip([&key.cipher, &key.other]) {
                plain.resize(len, 0);
                cipher.decrypt_to(offset, bytes, plain);
            }
            if self.plain[0] != self.plain[1] {
                same = false;
                let at = self.plain[0].iter().zip(&self.plain[1]).position(|(a, b)| a != b).unwrap_or(0) as u64;
                let base = self.superblock.zones.data.offset;
                let place =
                    Place::data(format_args!("extent {extent}, generation {}", key.generation), base + offset + at);
                let what = format!("the engines decrypt byte {} of the volume differently", offset + at);
                report.add(Severity::Error, "engines-disagree", place, what, None);
            }
        }
        if same {
            self.report.bytes_agreed += (len - holes) as u64;
        }
    }
}

/// Reads every extent as generation 1, for tests that need keys no volume has.
#[cfg(test)]
pub(super) fn read_extents_for_test(
    disk: &dyn Disk,
    superblock: &Superblock,
    keyring: &Keyring,
    report: &mut CheckReport,
) -> DataReport {
    let mut reader = Reader::new(disk, superblock, keyring, None);
    for extent in 0..superblock.shape.extents() {
        reader.extent(report, extent, 1, None);
    }
    reader.report
}
