//! Faults planted under a volume that is open, found by the online check, each by name.

use std::sync::Arc;

use super::fixture::{Fixture, Keks, at, bad, clean, explained, flip, only, pipeline, read, spec, tamper};
use crate::engine::Disk;
use crate::format::canary;
use crate::format::intents::slot_of;
use crate::format::layout::{GENERATIONS_COPY, SUPERBLOCK_A, SUPERBLOCK_B, copy_of};
use crate::format::stamp;
use crate::keys::{FileKek, Kek};
use crate::units::{BLOCK, Extent, Generation};
use crate::volume::check::{CheckReport, Checker, JobState, OnlineOptions, Severity};
use crate::volume::create::ModeChoice;
use crate::volume::info::tag_page_places;
use crate::volume::life::By;
use crate::volume::{Volume, VolumeError};

fn look(volume: &Volume, keks: &Keks, full: bool) -> CheckReport {
    let options = OnlineOptions { full, bytes_per_s: None };
    explained(volume.check_online(keks, options, &mut |_, _| true).unwrap())
}

/// A volume that is open in the middle of a rotation: intents live, a checkpoint behind it, records in the ring.
struct Served {
    fixture: Fixture,
    volume: Arc<Volume>,
}

fn served() -> Served {
    let fixture = Fixture::new();
    let volume = fixture.open(false);
    let target = volume.start_rotation(&fixture.keks, &spec()).unwrap();
    let mut pipeline = pipeline(&volume);
    for step in 0..3 {
        pipeline.step(&[Extent(step * 2), Extent(step * 2 + 1)], target, 0).unwrap();
    }
    Served { fixture, volume }
}

impl Served {
    /// Plants a fault of one structure, looks, and takes it back.
    fn with(&self, place: u64, len: u64, plant: impl FnOnce(&dyn Disk)) -> CheckReport {
        let disk = &*self.fixture.data;
        let before = read(disk, place, len);
        plant(disk);
        let report = look(&self.volume, &self.fixture.keks, false);
        disk.write_at(place, &before).unwrap();
        report
    }

    /// Nothing may be the matter once a fault is taken back.
    #[track_caller]
    fn is_clean(&self) {
        clean(&look(&self.volume, &self.fixture.keks, false));
    }
}

#[test]
fn nothing_is_wrong_at_any_point_of_a_rotation() {
    for (mode, detached) in [(ModeChoice::InPlace, false), (ModeChoice::Journal, true)] {
        let fixture = Fixture::with(detached, 2, mode);
        let volume = fixture.open(false);
        clean(&look(&volume, &fixture.keks, true));
        let target = volume.start_rotation(&fixture.keks, &spec()).unwrap();
        let mut pipeline = pipeline(&volume);
        for step in 0..EXTENTS_BY_TWO {
            pipeline.step(&[Extent(step * 2), Extent(step * 2 + 1)], target, 1_000_000).unwrap();
            let report = look(&volume, &fixture.keks, true);
            clean(&report);
            assert!(report.online && report.passed);
            assert_eq!(report.census.values().sum::<u64>(), 16);
            assert_eq!(report.data.unwrap().extents, 16);
        }
        pipeline.drain(target).unwrap();
        volume.update_rotation(|rotation| rotation.phase = crate::format::generations::Phase::Drained).unwrap();
        volume.finalize(&By::daemon("test", 4)).unwrap();
        let report = look(&volume, &fixture.keks, true);
        clean(&report);
        assert!(report.references[0].proven_empty && !report.references[1].proven_empty);
        // And what a read-only daemon sees of a rotation that was cut off.
        drop(pipeline);
        let again = fixture.open(true);
        clean(&look(&again, &fixture.keks, true));
    }
}

const EXTENTS_BY_TWO: u32 = super::fixture::EXTENTS / 2;

#[test]
fn a_rotation_that_was_cut_off_served_for_reading_only() {
    let fixture = Fixture::new();
    fixture.rotate(4);
    let volume = fixture.open(true);
    let report = look(&volume, &fixture.keks, true);
    clean(&report);
    assert_eq!(report.live_intents.len(), 4);
    assert_eq!(report.data.unwrap().bytes_moving, 4 << 16, "served from memory");
}

#[test]
fn a_copy_that_does_not_count_is_a_warning_and_one_that_does_an_error() {
    let served = served();
    let (newest, table) = {
        let meta = served.volume.meta();
        ([meta.superblock_sequence(), meta.table_sequence()], meta.superblock.zones.generations.offset)
    };
    let pairs = [
        ("superblock", [SUPERBLOCK_A, SUPERBLOCK_B], BLOCK),
        ("table", [table, table + GENERATIONS_COPY], GENERATIONS_COPY),
    ];
    for ((what, places, len), newest) in pairs.into_iter().zip(newest) {
        let counts = copy_of(newest);
        let report = served.with(places[1 - counts], len, |disk| flip(disk, places[1 - counts] + 40));
        at(&report, &format!("{what}-crc"), Severity::Warning, places[1 - counts]);
        assert!(report.passed && bad(&report).len() == 1, "{:#?}", bad(&report));
        let report = served.with(places[counts], len, |disk| flip(disk, places[counts] + 40));
        at(&report, &format!("{what}-differs"), Severity::Error, places[counts]);
        at(&report, &format!("{what}-crc"), Severity::Warning, places[counts]);
        assert!(!report.passed);
        // The older one in place of the newest: an open could not tell, the daemon can.
        let older = read(&*served.fixture.data, places[1 - counts], len);
        let report = served.with(places[counts], len, |disk| disk.write_at(places[counts], &older).unwrap());
        at(&report, &format!("{what}-differs"), Severity::Error, places[counts]);
        let report = served.with(places[counts], len, |disk| tamper(disk, places[counts], 16));
        at(&report, &format!("{what}-mac"), Severity::Error, places[counts]);
    }
    served.is_clean();
}

#[test]
fn stamp_and_canaries() {
    let served = served();
    let (zones, seal) = {
        let meta = served.volume.meta();
        (meta.superblock.zones, Arc::clone(&meta.seal))
    };
    let place = zones.stamp.offset;
    let report = served.with(place, BLOCK, |disk| flip(disk, place + 24));
    let finding = only(&report, "stamp-crc", Severity::Warning);
    assert_eq!((finding.backing.as_deref(), finding.offset), (Some("data"), Some(place)));
    let report = served.with(place, BLOCK, |disk| disk.write_at(place, &stamp::seal(&seal, 7)).unwrap());
    assert!(only(&report, "epoch-stale", Severity::Error).what.contains("the header is older"));
    for generation in [1, 2] {
        let place = zones.canaries.offset + generation * canary::SLOT;
        let report = served.with(place, canary::SLOT, |disk| flip(disk, place + 100));
        at(&report, "canary-crc", Severity::Error, place);
    }
    served.is_clean();
}

#[test]
fn tag_pages_against_memory() {
    let served = served();
    served.volume.meta().checkpoint(&served.volume.tags).unwrap();
    served.is_clean();
    let (copy, sequence, places, seal) = {
        let meta = served.volume.meta();
        let state = meta.page(0).unwrap();
        (usize::from(state.copy), state.sequence, tag_page_places(&meta.superblock, 0), Arc::clone(&meta.seal))
    };
    let report = served.with(places[1 - copy], BLOCK, |disk| flip(disk, places[1 - copy] + 40));
    at(&report, "tag-page-crc", Severity::Warning, places[1 - copy]);
    assert!(report.passed);
    let report = served.with(places[copy], BLOCK, |disk| flip(disk, places[copy] + 40));
    at(&report, "tag-page-crc", Severity::Error, places[copy]);
    at(&report, "tag-page-differs", Severity::Error, places[copy]);
    let report = served.with(places[copy], BLOCK, |disk| tamper(disk, places[copy], 40));
    at(&report, "tag-page-mac", Severity::Error, places[copy]);
    // The older twin in its place: its MAC is right.
    let older = read(&*served.fixture.data, places[1 - copy], BLOCK);
    let report = served.with(places[copy], BLOCK, |disk| disk.write_at(places[copy], &older).unwrap());
    at(&report, "tag-page-differs", Severity::Error, places[copy]);
    // The right sequence, sealed by the right key, with a tag that is not the committed one.
    let mut tags = served.volume.tags.committed_range(0, 16);
    tags[9] = Generation(2);
    let page = crate::format::tags::seal_page(&seal, 0, sequence, tags.into_iter());
    let report = served.with(places[copy], BLOCK, |disk| disk.write_at(places[copy], &page).unwrap());
    at(&report, "tag-page-differs", Severity::Error, places[copy]);
    assert!(only(&report, "tag-page-differs", Severity::Error).what.contains("extent 9 has generation 2 there, but 1"));
    served.is_clean();
}

#[test]
fn the_ring_against_the_log() {
    let served = served();
    let (superblock, last) = {
        let meta = served.volume.meta();
        (meta.superblock.clone(), meta.log.next() - 1)
    };
    let size = u64::from(superblock.slot_size);
    let place = |record| superblock.zones.ring.offset + u64::from(slot_of(record, superblock.ring_slots)) * size;
    assert!(last > superblock.tail + 1);
    // Offline the last one would pass for torn: only the daemon knows that it was written.
    for record in [last, superblock.tail + 1] {
        let at_slot = place(record);
        let report = served.with(at_slot, size, |disk| flip(disk, at_slot + 60));
        at(&report, "ring-crc", Severity::Error, at_slot);
        assert!(report.named("ring-differs").any(|finding| finding.offset == Some(at_slot)), "{:#?}", bad(&report));
        let report = served.with(at_slot, size, |disk| disk.write_at(at_slot, &vec![0; size as usize]).unwrap());
        at(&report, "ring-zero", Severity::Error, at_slot);
        let report = served.with(at_slot, size, |disk| tamper(disk, at_slot, 40));
        at(&report, "ring-mac", Severity::Error, at_slot);
    }
    served.is_clean();
    // A record nobody wrote, sealed by the right key.
    let granules = (superblock.shape.extent_size / u64::from(superblock.shape.granule)) as usize;
    let image = crate::format::intents::Image::Fingerprints(vec![1; granules]);
    let intent = crate::format::intents::Intent { extent: Extent(9), old: Generation(1), new: Generation(2), image };
    let stranger = crate::format::intents::Record { sequence: last + 1, commits: Vec::new(), intents: vec![intent] };
    let seal = Arc::clone(&served.volume.meta().seal);
    let bytes = stranger.seal(&seal, superblock.ring_slots);
    let report = served.with(place(last + 1), size, |disk| disk.write_at(place(last + 1), &bytes).unwrap());
    at(&report, "ring-differs", Severity::Error, place(last + 1));
    served.is_clean();
}

#[test]
fn keys_that_do_not_open_any_more() {
    let served = served();
    let other: Keks = vec![Kek::unwitnessed(FileKek::create(&served.fixture.folder.path().join("other")).unwrap())];
    let report = look(&served.volume, &other, false);
    only(&report, "key-missing", Severity::Error);
    only(&report, "wrap-untried", Severity::Note);
    assert!(!report.passed, "the daemon could not open it again");
    // Without its key an extent answers EIO.
    served.volume.keyring.remove(Generation(1));
    let report = look(&served.volume, &served.fixture.keks, true);
    only(&report, "key-not-loaded", Severity::Warning);
    assert!(report.named("data-key").count() > 0 && !report.passed);
}

#[test]
fn a_poisoned_volume_says_so() {
    let served = served();
    served.volume.poison("a flush failed: EIO");
    let report = look(&served.volume, &served.fixture.keks, false);
    only(&report, "poisoned", Severity::Warning);
    assert_eq!(report.poisoned.as_deref(), Some("a flush failed: EIO"));
}

#[test]
fn one_check_at_a_time_and_it_can_be_cut_short() {
    let served = served();
    let keks: Keks = vec![Kek::unwitnessed(FileKek::open(&served.fixture.folder.path().join("kek0")).unwrap())];
    let checker = Checker::new(Arc::clone(&served.volume), Arc::new(crate::keys::Keks::new(keks)));
    assert_eq!(checker.status().state, JobState::None);
    // One byte a second: it would take weeks.
    checker.start(OnlineOptions { full: true, bytes_per_s: Some(1) }, 5).unwrap();
    let refused = checker.start(OnlineOptions::default(), 6).unwrap_err();
    assert!(matches!(refused, VolumeError::Refused(_)), "{refused}");
    assert_eq!((checker.status().started, checker.status().state), (5, JobState::Running));
    checker.stop();
    assert!(matches!(checker.status().state, JobState::Failed(why) if why.contains("cut short")));
    assert!(checker.start(OnlineOptions::default(), 7).is_err(), "none starts after a stop");
}
