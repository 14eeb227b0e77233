//! `--full`: every extent from the device, decrypted by both engines under the generation its tag names.
//!
//! XTS authenticates nothing: what is proven is that the device gives every byte back, that the key of every extent is
//! at hand, and that both engines make the same plaintext of it. Extents with a live intent are classified granule by
//! granule and decrypted under both keys.

use std::sync::Arc;

use super::report::{CheckReport, DataReport, Severity};
use super::ring::against_tags;
use super::survey::{Found, Survey};
use crate::crypto::fingerprint::Fingerprinter;
use crate::engine::Disk;
use crate::format::superblock::Superblock;
use crate::units::{BLOCK, HOLE_SLICE, align_down, align_up};
use crate::volume::holes::is_zero;
use crate::volume::keyring::{GenerationKey, Keyring};
use crate::volume::replay::{LiveIntent, Side, classify, expected};

/// Bytes read at a time.
const STEP: u64 = 1 << 20;

struct Reader<'a> {
    disk: &'a dyn Disk,
    superblock: &'a Superblock,
    keyring: &'a Keyring,
    prints: Fingerprinter,
    report: DataReport,
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
    let mut reader = Reader::new(&*survey.data, superblock, &keys.ring, prints);
    let size = superblock.shape.size;
    for (extent, tag) in (0u32..).zip(&tags.tags) {
        let live = effective.live.binary_search_by_key(&extent, |live| live.intent.extent.0);
        let live = live.ok().map(|index| &effective.live[index]);
        reader.extent(&mut found.report, extent, effective.tag(extent, *tag).0, live);
        progress(superblock.shape.extent_range(extent).1, size);
    }
    let data = reader.report;
    let what = format!(
        "{} extents: {} bytes read, {} bytes of holes, {} bytes decrypted alike by both engines",
        data.extents, data.bytes_read, data.bytes_holes, data.bytes_agreed
    );
    if data.extents_unread == 0 {
        found.report.good("data", what);
    } else {
        found.report.add(Severity::Note, "data-partly", "data", what, None);
    }
    found.report.data = Some(data);
}

impl<'a> Reader<'a> {
    fn new(disk: &'a dyn Disk, superblock: &'a Superblock, keyring: &'a Keyring, prints: Fingerprinter) -> Reader<'a> {
        let buf = vec![0; STEP as usize];
        Reader {
            disk,
            superblock,
            keyring,
            prints,
            report: DataReport::default(),
            buf,
            plain: [Vec::new(), Vec::new()],
        }
    }

    fn extent(&mut self, report: &mut CheckReport, extent: u32, tag: u32, live: Option<&LiveIntent>) {
        self.report.extents += 1;
        let place = format!("extent {extent}, generation {tag}");
        let generations = match live {
            Some(live) => vec![live.intent.old, live.intent.new],
            None => vec![crate::units::Generation(tag)],
        };
        let keys: Vec<_> = generations.iter().filter_map(|generation| self.keyring.get(*generation)).collect();
        if keys.len() < generations.len() {
            self.report.extents_unread += 1;
            let what = "its key is not at hand, so it was not read";
            return report.add(Severity::Error, "data-key", place, what, None);
        }
        match self.runs(report, extent, &keys, live) {
            Ok(()) => {}
            Err(error) => {
                self.report.extents_unread += 1;
                let what = format!("the device does not give it back: {error}");
                report.add(
                    Severity::Error,
                    "data-unreadable",
                    place,
                    what,
                    Some("replace the device; restore the extent from a backup"),
                );
            }
        }
    }

    fn runs(
        &mut self,
        report: &mut CheckReport,
        extent: u32,
        keys: &[Arc<GenerationKey>],
        live: Option<&LiveIntent>,
    ) -> std::io::Result<()> {
        let (first, end) = self.superblock.shape.extent_range(extent);
        let base = self.superblock.zones.data.offset;
        let mut at = first;
        while at < end {
            let data = self.disk.next_data(base + at, base + end)?;
            // Whole blocks: a run may begin or end inside one where the device's own blocks are smaller.
            let from = data.map_or(end, |data| align_down(data - base, BLOCK).max(at));
            self.report.bytes_holes += from - at;
            if from >= end {
                break;
            }
            let hole = self.disk.next_hole(base + from, base + end)? - base;
            let to = align_up(hole.max(from + 1), BLOCK).min(end).min(from + STEP);
            let len = (to - from) as usize;
            self.disk.read_at(base + from, &mut self.buf[..len])?;
            self.report.bytes_read += len as u64;
            if let Some(live) = live {
                self.sides(live, from - first, len);
            }
            self.agree(report, extent, from, len, keys);
            at = to;
        }
        Ok(())
    }

    fn sides(&mut self, live: &LiveIntent, inside: u64, len: usize) {
        let granule = self.superblock.shape.granule as usize;
        let index = inside as usize / granule;
        for (step, bytes) in self.buf[..len].chunks(granule).enumerate() {
            match expected(&live.intent, index + step).map(|print| classify(&self.prints, print, bytes)) {
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
                let place = format!("extent {extent}, generation {}", key.generation);
                let what = format!("the engines decrypt byte {} of the volume differently", offset + at);
                report.add(
                    Severity::Error,
                    "engines-disagree",
                    place,
                    what,
                    Some("a cipher or this machine is broken"),
                );
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
    let prints = Fingerprinter::new(crate::crypto::Secret::zeroed(crate::crypto::fingerprint::SECRET_LEN));
    let mut reader = Reader::new(disk, superblock, keyring, prints);
    for extent in 0..superblock.shape.extents() {
        reader.extent(report, extent, 1, None);
    }
    reader.report
}
