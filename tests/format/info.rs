//! What `info` says of golden volumes, sound and damaged, without a key.

use std::path::PathBuf;

use keymoult::engine::{Backing, CacheMode, Disk, OpenOptions};
use keymoult::volume::VolumeError;
use keymoult::volume::info::{Info, info, info_disks};

use super::image::{Image, as_disk, disk};

fn of(image: &Image) -> Result<Info, VolumeError> {
    let (data, header) = image.disks();
    let header = header.as_ref().map(as_disk);
    info_disks(&*data, header.as_deref())
}

#[test]
fn an_idle_volume() {
    let info = of(&Image::load("attached-4096-idle")).unwrap();
    assert!(!info.verified);
    assert_eq!(info.format_version, 1);
    let volume = &info.volume;
    assert_eq!((volume.size, volume.extent_size, volume.extents, volume.sector_size), (15 << 15, 65536, 8, 4096));
    assert_eq!((volume.mode, volume.detached, volume.epoch), ("in-place", false, 1));
    assert_eq!(volume.poisoned, None);
    let states = info.superblocks.each_ref().map(|copy| (copy.state, copy.counts));
    assert_eq!(states, [("good", true), ("never written", false)]);
    let generations: Vec<_> =
        info.generations.iter().map(|it| (it.generation, it.state, it.suite.as_str(), it.wraps.len())).collect();
    assert_eq!(generations, [(0, "active", "metadata key", 2), (1, "active", "aes-256-xts", 2)]);
    let wraps = &info.generations[1].wraps;
    assert_eq!((wraps[0].provider.as_str(), wraps[1].provider.as_str()), ("file", "passphrase"));
    assert!(wraps[0].kek_id.starts_with("file-"));
    assert_eq!(info.generations[1].canary.as_ref().unwrap().state, "good");
    assert_eq!(info.rotation.as_ref().unwrap().phase, "idle");
    assert_eq!((info.tag_pages.pages, info.tag_pages.good, info.tag_pages.damaged), (1, 1, 0));
    assert_eq!(info.tag_pages.extents_by_generation.into_iter().collect::<Vec<_>>(), [(1, 8)]);
    assert_eq!((info.ring.slots, info.ring.records, info.ring.live, info.ring.unwritten), (16, 0, 0, 16));
    assert_eq!(info.stamp.unwrap().sequence, Some(1));
    assert_eq!(
        info.zones.iter().map(|zone| zone.name).collect::<Vec<_>>(),
        ["generation table", "canaries", "tag pages", "intent ring", "data", "epoch stamp"]
    );
}

#[test]
fn a_volume_in_the_middle_of_a_rotation() {
    for name in ["attached-4096on512-rotating", "detached-journal-rotating"] {
        let info = of(&Image::load(name)).unwrap();
        let rotation = info.rotation.unwrap();
        assert_eq!((rotation.phase, rotation.target, rotation.rollback_to), ("running", 2, Some(1)));
        assert_eq!((rotation.order, rotation.rate, rotation.verify_ppm), ("given ranges first", 1 << 20, 500_000));
        assert_eq!((info.ring.live, info.ring.newest), (3, Some(3)));
        assert_eq!(info.volume.epoch, 2);
        assert_eq!(info.generations[1].state, "draining");
        assert_eq!(info.generations[2].suite, "aes-128-xts");
        // As of the checkpoint: the ring's commits are not in it.
        assert_eq!(info.tag_pages.extents_by_generation.into_iter().collect::<Vec<_>>(), [(1, 8)]);
    }
}

#[test]
fn damage_is_described_copy_by_copy() {
    let mut image = Image::load("attached-4096-rotating");
    let sound = of(&image).unwrap();
    let counting = sound.superblocks.iter().position(|copy| copy.counts).unwrap();
    image.data[counting * 32768 + 50] ^= 1;
    image.data[2_686_976 + 50] ^= 1;
    let info = of(&image).unwrap();
    assert_eq!(info.superblocks[counting].state, "damaged");
    assert!(info.superblocks[counting].damage.as_ref().unwrap().contains("CRC mismatch"));
    assert!(info.superblocks[1 - counting].counts);
    assert_eq!((info.tag_pages.damaged, info.tag_pages.damaged_pages.as_slice()), (1, &[0][..]));
    assert_eq!(info.tag_pages.extents_unknown, 8);
    image.data[(1 - counting) * 32768 + 50] ^= 1;
    assert!(matches!(of(&image), Err(VolumeError::Damaged { .. })));
    image.data[8] = 2;
    assert!(matches!(of(&image), Err(VolumeError::Newer { found: 2, known: 1 })));
    assert!(matches!(info_disks(&disk(&[0; 65536]), None), Err(VolumeError::NotAVolume { .. })));
}

#[test]
fn every_truncation_gets_an_answer() {
    let image = Image::load("attached-4096-rotating");
    let mut described = 0;
    for len in (0..image.data.len()).step_by(12_288).chain([4095, 4096, 4097]) {
        described += u32::from(info_disks(&disk(&image.data[..len]), None).is_ok());
    }
    assert!(described > 10, "a volume cut short is still described");
}

fn files(name: &str) -> (tempfile::TempDir, PathBuf, Option<PathBuf>) {
    let folder = tempfile::tempdir().unwrap();
    let image = Image::load(name);
    let path = folder.path().join("v.km");
    std::fs::write(&path, &image.data).unwrap();
    let header = image.header.map(|bytes| {
        let path = folder.path().join("v.header");
        std::fs::write(&path, bytes).unwrap();
        path
    });
    (folder, path, header)
}

#[test]
fn a_volume_in_use_is_described_and_said_to_be_in_use() {
    let (_folder, path, _) = files("attached-512-idle");
    assert_eq!(info(&path, None).unwrap().in_use, None);
    let held = Backing::open(&path, &OpenOptions { read_only: false, cache: CacheMode::Page }).unwrap();
    let busy = info(&path, None).unwrap();
    assert!(busy.in_use.as_ref().unwrap().contains("is in use"), "{:?}", busy.in_use);
    assert_eq!(busy.volume.sector_size, 512);
    held.flush().unwrap();
}

#[test]
fn a_detached_header_alone_says_what_it_can() {
    let (_folder, path, header) = files("detached-4096-idle");
    let header = header.unwrap();
    let whole = info(&path, Some(&header)).unwrap();
    assert_eq!(whole.stamp.as_ref().unwrap().state, "good");
    let alone = info(&header, None).unwrap();
    assert_eq!((alone.stamp.is_none(), alone.volume.clone()), (true, whole.volume));
    // The data alone are no volume.
    assert!(matches!(info(&path, None), Err(VolumeError::NotAVolume { .. })));
}

#[test]
fn what_is_no_file_is_refused_without_waiting() {
    let folder = tempfile::tempdir().unwrap();
    let fifo = folder.path().join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert!(matches!(info(&fifo, None), Err(VolumeError::Backing(_))));
    assert!(matches!(info(folder.path(), None), Err(VolumeError::Backing(_))));
    assert!(matches!(info(&folder.path().join("none"), None), Err(VolumeError::Backing(_))));
}

#[test]
fn it_can_be_told_as_json() {
    let info = of(&Image::load("attached-4096-rotating")).unwrap();
    let json = serde_json::to_value(&info).unwrap();
    assert_eq!(json["verified"], false);
    assert_eq!(json["tag_pages"]["extents_by_generation"]["1"], 8);
    assert_eq!(json["superblocks"][0]["state"], "good");
}
