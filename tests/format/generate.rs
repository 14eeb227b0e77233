//! Makes the golden images: `KEYMOULT_GOLDEN=1 cargo test --test format -- --ignored generate`.
//!
//! Only images that do not exist yet are made: an old one is there to be opened, not to be replaced.

use std::path::Path;
use std::sync::Arc;

use keymoult::crypto::{EngineKind, Suite};
use keymoult::engine::mem::MemDisk;
use keymoult::engine::{CacheMode, Disk, EngineOptions, IoKind};
use keymoult::format::generations::{Order, Pace, Phase, VerifyMode};
use keymoult::units::{Extent, Generation};
use keymoult::volume::Volume;
use keymoult::volume::create::{CreateOptions, ModeChoice, create};
use keymoult::volume::life::By;
use keymoult::volume::lifecycle::RotationSpec;
use keymoult::volume::open::open_disks;
use keymoult::volume::pipeline::Pipeline;

use super::client::Client;
use super::golden::{NAMES, SIZE, WRITES, plaintext, text};
use super::image::{Image, Keks, all, as_disk, file_kek, folder, passphrase_kek};

/// Seconds since 1970 that golden volumes claim to be made at.
const NOW: u64 = 1_750_000_000;

#[test]
#[ignore = "makes golden images that are missing; see the module's head"]
fn generate() {
    assert!(std::env::var_os("KEYMOULT_GOLDEN").is_some(), "set KEYMOULT_GOLDEN=1");
    for name in NAMES.into_iter().filter(|name| !folder().join(format!("{name}.km.hex")).exists()) {
        make(name).store(name);
    }
}

fn make(name: &str) -> Image {
    let folder = tempfile::tempdir().unwrap();
    let mut keks: Keks = vec![file_kek(folder.path())];
    if name == "attached-4096-idle" {
        keks.push(passphrase_kek(folder.path()));
    }
    // tmpfs vouches for 4096 bytes; a file on a disk for its logical block.
    let small = name.starts_with("attached-512") || name.contains("on512");
    let parent = if small { std::env::temp_dir() } else { Path::new("/dev/shm").to_owned() };
    let place = tempfile::tempdir_in(parent).unwrap();
    let image = fresh(name, place.path(), &keks);
    let (data, header) = image.disks();
    let volume = open_disks(as_disk(&data), header.as_ref().map(as_disk), &keks, false, EngineKind::AwsLc);
    let volume = Arc::new(volume.unwrap());
    assert_eq!(volume.shape().granule == 512, small, "{name}: {}", volume.caps().granule_source);
    let mut client = Client::new(&volume);
    for (offset, len) in WRITES {
        let bytes: Vec<u8> = (offset..offset + len as u64).map(text).collect();
        client.write(offset, &bytes);
    }
    match name.rsplit_once('-').unwrap().1 {
        "idle" => assert!(client.read_all() == plaintext()),
        "rotating" => rotate_and_crash(&volume, &keks, &data, &mut client),
        "finalized" => rotate_and_finalize(&volume, &keks),
        _ => three_generations(&volume, &keks),
    }
    drop((client, volume));
    Image { data: all(&*data), header: header.map(|header| all(&*header)) }
}

fn fresh(name: &str, place: &Path, keks: &Keks) -> Image {
    let (path, header) = (place.join("v.km"), place.join("v.header"));
    let detached = name.starts_with("detached");
    let options = CreateOptions {
        path: &path,
        header: detached.then_some(header.as_path()),
        size: Some(SIZE),
        max_size: Some(2 << 20),
        extent_size: 64 << 10,
        data_unit: if name.contains("-512") { 512 } else { 4096 },
        suite: if name.contains("-128-") { Suite::Aes128Xts } else { Suite::Aes256Xts },
        replica_of: None,
        mode: if name.contains("journal") { ModeChoice::Journal } else { ModeChoice::InPlace },
        assume_zeroed: false,
        keks,
        cache: CacheMode::Page,
        now: NOW,
    };
    create(&options, &mut |_, _| {}).unwrap();
    Image { data: std::fs::read(&path).unwrap(), header: detached.then(|| std::fs::read(&header).unwrap()) }
}

fn start(volume: &Arc<Volume>, keks: &Keks, suite: Suite) -> (Pipeline, Generation) {
    let spec = RotationSpec {
        suite,
        order: Order::Ranges(vec![(0, 131_072)]),
        pace: Pace { rate: 1 << 20, adaptive: true, factor_percent: 200 },
        verify: VerifyMode::Sample(500_000),
        hold_finalize: true,
        paused: false,
        by: By::daemon("golden image", NOW + 60),
    };
    let target = volume.start_rotation(keks, &spec).unwrap();
    let engine = keymoult::engine::open(Some(IoKind::Posix), &EngineOptions::default()).unwrap();
    (Pipeline::new(Arc::clone(volume), engine), target)
}

/// Extent by extent: 0 and 1 committed, 2 and 5 written, 4 promised. Then the crash, in which part of what was written
/// to 2 and 5 did not reach the medium.
fn rotate_and_crash(volume: &Arc<Volume>, keks: &Keks, data: &Arc<MemDisk>, client: &mut Client) {
    let (mut pipeline, target) = start(volume, keks, Suite::Aes128Xts);
    let step = |pipeline: &mut Pipeline, extents: &[u32]| {
        let extents: Vec<Extent> = extents.iter().copied().map(Extent).collect();
        pipeline.step(&extents, target, 1_000_000).unwrap();
    };
    step(&mut pipeline, &[0, 1]);
    step(&mut pipeline, &[2, 5]);
    let before = all(&**data);
    step(&mut pipeline, &[4]);
    let journal = volume.mode() == keymoult::format::layout::WriteMode::Journal;
    if !journal {
        // A client writes the same again under the new key: committed, so R1 holds.
        let bytes: Vec<u8> = (0..4096).map(text).collect();
        client.write(0, &bytes);
    }
    assert!(client.read_all() == plaintext(), "as long as nothing tears");
    let base = all(&**data).len() as u64 - 4096 - SIZE;
    // A block of extent 2, and half a block of extent 5 where granules are that small.
    let half = u64::from(2048 / volume.shape().granule * volume.shape().granule);
    for (offset, len) in [(131_072, 4096), (331_776, half)] {
        let range = (base + offset) as usize..(base + offset + len) as usize;
        data.write_at(base + offset, &before[range]).unwrap();
    }
}

fn rotate_and_finalize(volume: &Arc<Volume>, keks: &Keks) {
    let (mut pipeline, target) = start(volume, keks, Suite::Aes128Xts);
    for extent in 0..8 {
        pipeline.step(&[Extent(extent)], target, 1_000_000).unwrap();
    }
    pipeline.drain(target).unwrap();
    volume.update_rotation(|rotation| rotation.phase = Phase::Drained).unwrap();
    assert_eq!(volume.finalize(&By::daemon("golden image", NOW + 120)).unwrap(), [Generation(1)]);
    assert!(Client::new(volume).read_all() == plaintext());
}

fn three_generations(volume: &Arc<Volume>, keks: &Keks) {
    for extents in [[0u32, 1, 2], [2, 3, 7]] {
        let (mut pipeline, target) = start(volume, keks, Suite::Aes256Xts);
        pipeline.step(&extents.map(Extent), target, 0).unwrap();
        pipeline.drain(target).unwrap();
    }
    assert!(Client::new(volume).read_all() == plaintext());
}
