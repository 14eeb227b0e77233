//! A golden image with a changed header: described, checked, opened read-only and for writing, read, written, rotated,
//! and opened again. The first byte chooses the image, the second what is done, the next four where; then come changes
//! ([`crate::support::patches`]).
//!
//! Promises: it is refused or served. Who may read it may write it, and reads the same bytes both ways; what a client wrote is there
//! and nothing else has changed, also after the volume was opened again; a repair neither closes what was open nor
//! changes what is read.

use std::sync::Arc;

use keymoult::crypto::{EngineKind, Suite};
use keymoult::format::generations::{Order, Pace, VerifyMode};
use keymoult::units::Extent;
use keymoult::volume::Volume;
use keymoult::volume::check::{CheckReport, Depth, check_disks};
use keymoult::volume::executor::IoFailure;
use keymoult::volume::info::info_disks;
use keymoult::volume::life::By;
use keymoult::volume::lifecycle::RotationSpec;
use keymoult::volume::open::open_disks;
use keymoult::volume::pipeline::Pipeline;

use crate::support::client::{Client, engine};
use crate::support::golden::{Files, as_disk, images, keks};
use crate::support::input::Input;
use crate::support::patches;

/// Largest volume that is read through: changed headers can only make it a little larger than its image.
const READ_MAX: u64 = 4 << 20;

type Content = Vec<Result<Vec<u8>, IoFailure>>;

pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let golden = &images()[input.index(images().len())];
    let (acts, place) = (input.u8(), input.u32());
    let files = patches::apply(golden, &mut input);

    describe(&files);
    check(&files, false, acts & 1 != 0);
    let Some(before) = read(&files) else {
        let disks = files.disks();
        assert!(open(&disks, false).is_none(), "it opens for writing, but not for reading");
        return;
    };
    if acts & 2 != 0 {
        repair(&files, &before);
    }
    let disks = files.disks();
    let volume = open(&disks, false).expect("what opens for reading opens for writing");
    let mut client = Client::new(&volume);
    assert!(client.read_all() == before, "it reads otherwise when open for writing");
    let mut after = before;
    write(&mut client, u64::from(place) % volume.size(), &mut after);
    assert!(client.read_all() == after, "a write changed something else");
    if acts & 4 != 0 {
        rotate(&volume);
        assert!(client.read_all() == after, "re-encryption changed what is read");
    }
    drop((client, volume));
    let again = open(&disks, true).expect("what was served opens again");
    assert!(Client::new(&again).read_all() == after, "it reads otherwise when opened again");
}

type Disks = (Arc<keymoult::engine::mem::MemDisk>, Option<Arc<keymoult::engine::mem::MemDisk>>);

fn open(disks: &Disks, read_only: bool) -> Option<Arc<Volume>> {
    let (data, header) = (as_disk(&disks.0), disks.1.as_ref().map(as_disk));
    open_disks(data, header, keks(), read_only, EngineKind::AwsLc).ok().map(Arc::new)
}

/// What a volume that opens holds; `None` if it does not open.
fn read(files: &Files) -> Option<Content> {
    let volume = open(&files.disks(), true)?;
    assert!(volume.size() <= READ_MAX, "larger than its file");
    Some(Client::new(&volume).read_all())
}

fn describe(files: &Files) {
    let (data, header) = files.disks();
    let _ = info_disks(&*data, header.as_ref().map(|header| &**header as &dyn keymoult::engine::Disk));
}

fn check(files: &Files, repair: bool, full: bool) -> CheckReport {
    let report = |keks, full, repair| {
        let (data, header) = files.disks();
        let (data, header) = (as_disk(&data), header.as_ref().map(as_disk));
        check_disks(data, header, Depth { keks, full, repair }, &mut |_, _| {}).unwrap()
    };
    report(None, false, false);
    report(Some(keks()), full, repair)
}

fn repair(files: &Files, before: &Content) {
    let (data, header) = files.disks();
    let (as_data, as_header) = (as_disk(&data), header.as_ref().map(as_disk));
    let depth = Depth { keks: Some(keks()), full: false, repair: true };
    let report = check_disks(as_data, as_header, depth, &mut |_, _| {}).unwrap();
    let repaired = open(&(data, header), true);
    let repaired = repaired.unwrap_or_else(|| panic!("after the repair it does not open: {:?}", report.repaired));
    assert!(Client::new(&repaired).read_all() == *before, "the repair changed what is read: {:?}", report.repaired);
}

/// Writes a few bytes at `offset`, there and in `content`.
fn write(client: &mut Client, offset: u64, content: &mut Content) {
    let step = content[0].as_ref().map_or(64 << 10, Vec::len);
    let piece = offset as usize / step;
    let Some(Ok(text)) = content.get_mut(piece) else { return };
    let at = offset as usize % step;
    let bytes = [0x5a; 700];
    let len = bytes.len().min(text.len() - at);
    if client.write(offset, &bytes[..len]).is_ok() {
        text[at..at + len].copy_from_slice(&bytes[..len]);
    }
}

/// Starts a rotation and takes two extents through it; it may be refused.
fn rotate(volume: &Arc<Volume>) {
    let spec = RotationSpec {
        suite: Suite::Aes256Xts,
        order: Order::Sequential,
        pace: Pace { rate: 0, adaptive: false, factor_percent: 150 },
        verify: VerifyMode::Off,
        hold_finalize: true,
        paused: false,
        by: By::daemon("fuzzing", 1_750_000_000),
    };
    let Ok(target) = volume.start_rotation(keks(), &spec) else { return };
    let mut pipeline = Pipeline::new(Arc::clone(volume), engine());
    for extents in [[0, 1], [2, 3], [0, 4]] {
        let extents: Vec<Extent> =
            extents.into_iter().filter(|at| *at < volume.shape().extents()).map(Extent).collect();
        if pipeline.step(&extents, target, 0).is_err() {
            return;
        }
    }
    let _ = pipeline.drain(target);
}
