//! Online: every tag page on the device against the committed tags in memory.
//!
//! The copy that counts must be the one the daemon named last. Its tags may lag behind the committed ones, but only by
//! commits that stand in the ring: page and ring together must say what memory says, at any moment, since a crash at that
//! moment would leave nothing else. A checkpoint that has written its pages and is not yet named has touched only copies
//! that do not count.

use super::Online;
use super::pace::Pacer;
use super::ring::Slots;
use crate::format::layout::TAGS_PER_PAGE;
use crate::units::{BLOCK, Extent, Generation};
use crate::volume::VolumeError;
use crate::volume::check::references::Tally;
use crate::volume::check::report::{CheckReport, Severity};
use crate::volume::check::tags::{self, Pages};
use crate::volume::meta::Meta;

impl Online<'_> {
    /// Checks every page; tags of the pages by generation.
    pub(super) fn pages(
        &self,
        report: &mut CheckReport,
        slots: &mut Slots<'_>,
        pacer: &mut Pacer<'_>,
    ) -> Result<Tally, VolumeError> {
        let superblock = self.meta().superblock.clone();
        let (pages, header) = (superblock.shape.tag_pages(), &*self.volume.header);
        let mut tally = Tally::new();
        for index in 0..pages {
            let read = || tags::read(header, &superblock, index, Some(&self.seal));
            let found =
                self.settled(report, read, |report, meta, copies| self.page(report, meta, index, copies, slots));
            for tag in found {
                *tally.entry(tag).or_insert(0) += 1;
            }
            pacer.spend(2 * BLOCK)?;
        }
        let meta = self.meta();
        match meta.digest_fits() {
            true => {
                report.good("tag pages", format!("{pages} pages, each the one the daemon named, its tags as in memory"))
            }
            false => {
                let what = "the digest in the superblock is not that of the pages the daemon named";
                report.add(Severity::Error, "tag-digest", "the daemon's memory", what, None);
            }
        }
        Ok(tally)
    }

    /// Judges one page; its tags if it is the right one.
    fn page(
        &self,
        report: &mut CheckReport,
        meta: &Meta,
        index: u32,
        copies: &Pages,
        slots: &mut Slots<'_>,
    ) -> Vec<Generation> {
        let Some(state) = meta.page(index) else { return Vec::new() };
        let copy = usize::from(state.copy);
        let page = copies[copy].as_ref().ok().filter(|page| page.sequence == state.sequence);
        let counting = page.is_some().then_some(copy);
        tags::judge(report, &meta.superblock, index, copies, counting);
        let Some(page) = page else {
            let found = match &copies[copy] {
                Ok(page) => format!("sequence {} stands there", page.sequence),
                Err(_) => "no page stands there".to_owned(),
            };
            let what = format!("{found}, but the daemon counts on sequence {}", state.sequence);
            let place = tags::place_of(&meta.superblock, index, copy);
            report.add(Severity::Error, "tag-page-differs", place, what, None);
            return Vec::new();
        };
        let first = index * TAGS_PER_PAGE;
        let committed = self.volume.tags.committed_range(first, first.saturating_add(TAGS_PER_PAGE));
        let lagging = |(at, (tag, committed)): (u32, (&Generation, &Generation))| (tag != committed).then_some(at);
        let behind: Vec<u32> = (0u32..).zip(page.tags.iter().zip(&committed)).filter_map(lagging).collect();
        if !behind.is_empty() {
            let overlay = slots.overlay(meta);
            let unexplained = behind.into_iter().find(|at| {
                let (extent, committed) = (Extent(first + at), committed[*at as usize]);
                let said = overlay.get(&extent.0).copied().unwrap_or(page.tags[*at as usize]);
                said != committed && meta.log.committing(extent) != Some(said)
            });
            if let Some(at) = unexplained {
                let (extent, known) = (first + at, committed[at as usize]);
                let what = format!(
                    "extent {extent} has generation {} there, but {known} in memory, and no record in the ring says why",
                    page.tags[at as usize]
                );
                let place = tags::place_of(&meta.superblock, index, copy);
                report.add(Severity::Error, "tag-page-differs", place, what, None);
            }
        }
        page.tags[..committed.len()].to_vec()
    }
}
