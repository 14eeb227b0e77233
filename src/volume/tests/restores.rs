//! Crashes of a restore, of cataloguing a backup and of rewrapping from escrow: after every operation, killed and powered off.
//!
//! A recorder keeps every operation of the header's disk. An image is what was there before, every operation up to a cut, and of those
//! after the last flush all (a kill), none, or some, the last of them shorn to its first sector (a power cut). It must open
//! as it was or as it is to be; or be refused, and then the same restore, run again, must succeed.

use std::io;
use std::os::fd::RawFd;
use std::sync::{Arc, Mutex};

use super::backup::{back_up, copy, destroy_header, held, new, small, target, written};
use super::kek::OpenKek;
use super::rig::{Client, Disks, Rig, engine};
use crate::crypto::{EngineKind, Suite};
use crate::engine::{Disk, DiskCaps};
use crate::format::lives::HolderKind;
use crate::keys::Kek;
use crate::volume::Volume;
use crate::volume::restore::Prepared;

/// What was done to the disk.
#[derive(Clone)]
enum Act {
    Write(u64, Vec<u8>),
    Zero(u64, u64),
    Flush,
}

/// A disk that keeps what is done to it.
struct Recorder {
    disk: Arc<dyn Disk>,
    acts: Mutex<Vec<Act>>,
}

impl Recorder {
    fn note(&self, act: Act) {
        self.acts.lock().unwrap().push(act);
    }
}

impl Disk for Recorder {
    fn len(&self) -> io::Result<u64> {
        self.disk.len()
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.disk.set_len(len)
    }
    fn read_at(&self, offset: u64, data: &mut [u8]) -> io::Result<()> {
        self.disk.read_at(offset, data)
    }
    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.note(Act::Write(offset, data.to_vec()));
        self.disk.write_at(offset, data)
    }
    fn flush(&self) -> io::Result<()> {
        self.note(Act::Flush);
        self.disk.flush()
    }
    fn punch(&self, offset: u64, len: u64) -> io::Result<()> {
        self.note(Act::Zero(offset, len));
        self.disk.punch(offset, len)
    }
    fn zero_range(&self, offset: u64, len: u64) -> io::Result<()> {
        self.note(Act::Zero(offset, len));
        self.disk.zero_range(offset, len)
    }
    fn next_data(&self, offset: u64, end: u64) -> io::Result<Option<u64>> {
        self.disk.next_data(offset, end)
    }
    fn next_hole(&self, offset: u64, end: u64) -> io::Result<u64> {
        self.disk.next_hole(offset, end)
    }
    fn drop_cache(&self) -> io::Result<()> {
        self.disk.drop_cache()
    }
    fn fd(&self) -> Option<RawFd> {
        None
    }
    fn caps(&self) -> DiskCaps {
        self.disk.caps()
    }
}

fn apply(disk: &dyn Disk, act: &Act, shorn: bool) {
    match act {
        Act::Write(place, bytes) => disk.write_at(*place, if shorn { &bytes[..512] } else { bytes }).unwrap(),
        Act::Zero(place, len) => disk.zero_range(*place, if shorn { 4096.min(*len) } else { *len }).unwrap(),
        Act::Flush => {}
    }
}

/// Every image that a crash of `acts` on the header of `before` can leave, as far as this looks.
fn images(before: &Disks, acts: &[Act], look: &mut dyn FnMut(Disks, &str)) -> usize {
    let mut count = 0;
    for cut in 0..=acts.len() {
        let flushed = acts[..cut].iter().rposition(|act| matches!(act, Act::Flush)).map_or(0, |at| at + 1);
        let open = cut - flushed;
        let mut kept: Vec<(Vec<usize>, bool)> = vec![((flushed..cut).collect(), false), (Vec::new(), false)];
        if open > 0 {
            kept.push(((flushed..cut).collect(), true));
            kept.push((vec![cut - 1], true));
            kept.extend((0..3).map(|step| ((flushed..cut).filter(|at| at % 3 != step).collect(), false)));
        }
        for (unflushed, shorn) in kept {
            let image = copy(before);
            let header = image.header.clone().unwrap_or_else(|| Arc::clone(&image.data));
            acts[..flushed].iter().for_each(|act| apply(&*header, act, false));
            for at in &unflushed {
                apply(&*header, &acts[*at], shorn && *at + 1 == cut);
            }
            look(image, &format!("cut {cut} of {}, kept {unflushed:?}, shorn {shorn}", acts.len()));
            count += 1;
        }
    }
    count
}

/// Does `work` on a copy of `before` and gives what it did to the header.
fn recorded(before: &Disks, work: impl FnOnce(Disks)) -> Vec<Act> {
    let disks = copy(before);
    let inner = disks.header.clone().unwrap_or_else(|| Arc::clone(&disks.data));
    let recorder = Arc::new(Recorder { disk: inner, acts: Mutex::default() });
    let watched = match disks.header {
        Some(_) => Disks { data: disks.data, header: Some(Arc::clone(&recorder) as Arc<dyn Disk>) },
        None => Disks { data: Arc::clone(&recorder) as Arc<dyn Disk>, header: None },
    };
    work(watched);
    recorder.acts.lock().unwrap().clone()
}

fn opened(disks: &Disks, keks: &[Kek]) -> Option<Arc<Volume>> {
    disks.open(keks, EngineKind::AwsLc, false).ok().map(Arc::new)
}

fn reads(volume: &Arc<Volume>, content: &[u8]) -> bool {
    Client::new(volume, engine()).content() == content
}

/// Every crash of restoring `bytes` over `before`.
fn every_crash_of_a_restore(before: &Disks, bytes: &[u8], content: &[u8]) -> (usize, usize) {
    let restore = |disks: &Disks| {
        let (keks, target) = (OpenKek::list(), target(disks));
        let prepared = Prepared::of(bytes, &keks, &target).map_err(|error| error.to_string())?;
        prepared.write(&target).and_then(|()| prepared.prove(&target, &keks)).map_err(|error| error.to_string())
    };
    let acts = recorded(before, |disks| assert!(restore(&disks).is_ok()));
    let mut refused = 0;
    let looked = images(before, &acts, &mut |image, what| {
        if let Some(volume) = opened(&copy(&image), &OpenKek::list()) {
            assert!(reads(&volume, content), "{what}: opens and reads garbage");
        } else {
            refused += 1;
        }
        restore(&image).unwrap_or_else(|error| panic!("{what}: run again: {error}"));
        assert!(reads(&opened(&image, &OpenKek::list()).unwrap(), content), "{what}: after it was run again");
    });
    (looked, refused)
}

#[test]
fn a_crash_of_a_restore_leaves_a_header_that_opens_or_a_restore_that_is_run_again() {
    for (detached, destroyed) in [(false, false), (false, true), (true, false), (true, true)] {
        let mut rig = Rig::new(&small(), Suite::Aes256Xts, detached, EngineKind::AwsLc);
        let made = back_up(&rig.volume);
        let content = written(&mut rig, 1);
        if destroyed {
            destroy_header(&rig.disks);
        }
        let (looked, refused) = every_crash_of_a_restore(&rig.disks, &made.bytes, &content);
        println!("detached {detached}, destroyed {destroyed}: {looked} images, {refused} refused at open");
        assert!(looked > 20 && refused > 0);
    }
}

#[test]
fn so_it_does_in_the_middle_of_a_rotation() {
    let (rig, made, content) = held();
    let (looked, refused) = every_crash_of_a_restore(&rig.disks, &made.bytes, &content);
    println!("{looked} images, {refused} refused at open");
    assert!(looked > 20 && refused > 0);
}

/// Durable first: whatever a crash leaves, no backup exists that the table does not know of.
#[test]
fn a_crash_of_cataloguing_leaves_the_volume_with_the_entry_or_without() {
    let mut rig = Rig::new(&small(), Suite::Aes256Xts, true, EngineKind::AwsLc);
    let content = written(&mut rig, 1);
    let mut with_entry = 0;
    let acts = recorded(&rig.disks, |disks| {
        let volume = Arc::new(disks.open(&OpenKek::list(), EngineKind::AwsLc, false).unwrap());
        volume.back_up(&new(HolderKind::HeaderBackup)).unwrap();
    });
    let looked = images(&rig.disks, &acts, &mut |image, what| {
        let volume = opened(&image, &OpenKek::list()).unwrap_or_else(|| panic!("{what}: does not open"));
        assert!(reads(&volume, &content), "{what}");
        with_entry += volume.holders().len();
    });
    assert!(with_entry > 0 && with_entry < looked, "{with_entry} of {looked}");
}

/// The old wraps or the new ones.
#[test]
fn a_crash_of_rewrapping_leaves_a_volume_that_opens_by_the_old_keys_or_the_new() {
    let mut rig = Rig::new(&small(), Suite::Aes256Xts, true, EngineKind::AwsLc);
    let content = written(&mut rig, 1);
    let acts = recorded(&rig.disks, |disks| {
        let volume = Arc::new(disks.open(&OpenKek::list(), EngineKind::AwsLc, false).unwrap());
        volume.rewrap_for(&OpenKek::list(), &OpenKek::list()).unwrap();
    });
    images(&rig.disks, &acts, &mut |image, what| {
        let volume = opened(&image, &OpenKek::list()).unwrap_or_else(|| panic!("{what}: does not open"));
        assert!(reads(&volume, &content), "{what}");
        assert!(volume.table().entries.iter().all(|entry| entry.wraps.len() == 1), "{what}");
    });
}
