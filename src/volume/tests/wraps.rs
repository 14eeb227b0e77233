//! Changes of KEKs on disks that work: who opens the volume before, while and after, what is refused, what is left on the
//! device. `crashes`, `failures` and `controls` have the rest.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::kek::{NamedKek, OpenKek};
use super::rig::{Disks, Rig, shape, spec};
use crate::crypto::{EngineKind, Suite};
use crate::format::generations::Phase;
use crate::format::layout::{GENERATIONS_COPY, Shape, WriteMode};
use crate::keys::Kek;
use crate::limits::WRAPS_MAX;
use crate::units::Generation;
use crate::volume::background::kept;
use crate::volume::wraps::{Addition, Removal, Step, WrapChange, WrapsChanged};
use crate::volume::{Volume, VolumeError};

fn small() -> Shape {
    shape(5 * (64 << 10), 4096, 4096, WriteMode::InPlace)
}

fn kek(name: &str) -> Kek {
    NamedKek::kek(name, false)
}

fn rig(keks: &[Kek], detached: bool) -> Rig {
    kept::start();
    let disks = Disks::in_memory(&small(), detached);
    disks.create(&small(), Suite::Aes256Xts, keks);
    Rig::on(disks, keks.to_vec(), EngineKind::AwsLc)
}

fn open(disks: &Disks, keks: &[Kek]) -> Result<Volume, VolumeError> {
    disks.open(keks, EngineKind::AwsLc, true)
}

fn is_refused(disks: &Disks, name: &str) {
    let opened = open(disks, &[kek(name)]);
    assert!(matches!(opened, Err(VolumeError::WrongKey { .. })), "{name}: {:?}", opened.err());
}

fn to<'a>(kek: &'a Kek) -> WrapChange<'a> {
    WrapChange { add: Some(Addition { kek, first: true }), remove: Removal::InUse, generation: None }
}

fn change(rig: &Rig, change: &WrapChange<'_>) -> Result<WrapsChanged, VolumeError> {
    rig.volume.change_wraps(&rig.keks, change, &mut |_| {})
}

/// Ids of the wraps, by generation.
fn wraps(volume: &Volume) -> BTreeMap<u32, Vec<String>> {
    let table = volume.table();
    let ids = |entry: &crate::format::generations::Entry| entry.wraps.iter().map(|it| it.kek_id.clone()).collect();
    table.entries.iter().map(|entry| (entry.generation.0, ids(entry))).collect()
}

fn zone(rig: &Rig) -> Vec<u8> {
    let mut bytes = vec![0; 2 * GENERATIONS_COPY as usize];
    let header = rig.disks.header.as_ref().unwrap_or(&rig.disks.data);
    header.read_at(rig.volume.meta().superblock.zones.generations.offset, &mut bytes).unwrap();
    bytes
}

fn holds(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|at| at == part)
}

fn why(error: VolumeError) -> String {
    crate::volume::tests::sim::work::in_full(&error)
}

#[test]
fn another_kek_takes_over_in_the_middle_of_a_rotation_and_the_old_one_is_gone() {
    for detached in [false, true] {
        let (old, new) = (kek("old"), kek("new"));
        let mut rig = rig(std::slice::from_ref(&old), detached);
        rig.client.write(0, &[7; 100_000]).unwrap();
        rig.client.flush().unwrap();
        rig.start_rotation(Suite::Aes256Xts);
        rig.step(2).unwrap();
        let content = rig.client.content();
        let blobs: Vec<Vec<u8>> = rig.volume.table().entries.iter().map(|entry| entry.wraps[0].blob.clone()).collect();
        assert!(blobs.iter().all(|blob| holds(&zone(&rig), blob)));
        let mut steps = Vec::new();
        let disks = rig.disks.clone();
        let changed = rig.volume.change_wraps(&rig.keks, &to(&new), &mut |step| {
            let alone = [&old, &new].map(|kek| open(&disks, std::slice::from_ref(kek)).is_ok());
            steps.push((step, alone));
        });
        let changed = changed.unwrap();
        assert_eq!(
            steps,
            [
                (Step::Wrapped, [true, false]),
                (Step::Added, [true, true]),
                (Step::Proven, [true, true]),
                (Step::Removed, [false, true]),
            ]
        );
        assert!(changed.is_change() && changed.keys.len() == 3 && changed.retired == ["file:/old"]);
        assert_eq!(changed.swept, Ok(2 * GENERATIONS_COPY));
        assert!(blobs.iter().all(|blob| !holds(&zone(&rig), blob)), "no old wrap is left on the device");
        assert!(rig.volume.openings().values().all(|opening| opening.kek_id == "new"));
        rig.keks = changed.keks;
        rig.rotate().unwrap();
        rig.volume.update_rotation(|rotation| rotation.phase = Phase::Drained).unwrap();
        rig.volume.finalize(&crate::volume::life::By::default()).unwrap();
        assert!(rig.client.content() == content, "no data was touched");
        is_refused(&rig.disks, "old");
        let again = Rig::on(rig.disks.clone(), vec![new.clone()], EngineKind::AwsLc);
        assert_eq!(again.volume.rotation().phase, Phase::Finalized);
        let nothing = change(&again, &to(&new)).unwrap();
        assert!(!nothing.is_change(), "it is the KEK already");
    }
}

#[test]
fn a_change_cut_off_after_the_add_is_finished_by_asking_again() {
    let (old, new) = (kek("old"), kek("new"));
    let mut rig = rig(&[old], false);
    change(&rig, &WrapChange { remove: Removal::Nothing, ..to(&new) }).unwrap();
    assert_eq!(
        wraps(&rig.volume),
        [(0, vec!["new".into(), "old".into()]), (1, vec!["new".into(), "old".into()])].into()
    );
    rig = Rig::on(rig.disks.clone(), rig.keks.clone(), EngineKind::AwsLc);
    assert_eq!(rig.volume.openings()[&Generation(1)].kek_id, "old");
    let changed = change(&rig, &to(&new)).unwrap();
    assert!(changed.keys.iter().all(|key| key.added.is_none() && key.removed.len() == 1));
    assert_eq!(wraps(&rig.volume), [(0, vec!["new".into()]), (1, vec!["new".into()])].into());
    is_refused(&rig.disks, "old");
}

#[test]
fn a_fallback_opens_and_is_known_as_one() {
    let (first, second) = (kek("first"), kek("second"));
    let rig = rig(&[first.clone(), second.clone()], false);
    let opening = |keks: &[Kek]| open(&rig.disks, keks).unwrap().openings()[&Generation(1)].clone();
    let both = opening(&[second.clone(), first.clone()]);
    assert!(both.kek_id == "first" && !both.is_fallback(false) && !both.is_fallback(true));
    let alone = opening(std::slice::from_ref(&second));
    assert!(alone.kek_id == "second" && !alone.is_fallback(false), "nothing else was given");
    assert!(alone.is_fallback(true), "another was given and cannot be had");
    let stale = opening(&[kek("stale"), second.clone()]);
    assert!(stale.is_fallback(false) && stale.idle == ["file:/stale"]);
    let bad = NamedKek::kek("first", true);
    let slipped = Disks::in_memory(&small(), false);
    slipped.create(&small(), Suite::Aes256Xts, std::slice::from_ref(&second));
    let volume = Arc::new(slipped.open(std::slice::from_ref(&second), EngineKind::AwsLc, false).unwrap());
    let added = volume.change_wraps(&[second], &WrapChange { remove: Removal::Nothing, ..to(&bad) }, &mut |_| {});
    assert!(matches!(added, Err(VolumeError::Unproven { .. })), "what does not open is not kept");
}

#[test]
fn a_wrap_that_does_not_prove_is_taken_out_and_changes_nothing() {
    let rig = rig(&[kek("old")], false);
    let bad = NamedKek::kek("bad", true);
    let before = wraps(&rig.volume);
    let error = change(&rig, &to(&bad)).err().map(why).unwrap();
    assert!(error.contains("the new wrap of the metadata key is not proven: it was taken out again"), "{error}");
    assert!(error.contains("opens to another key"), "{error}");
    assert_eq!(wraps(&rig.volume), before);
    is_refused(&rig.disks, "bad");
    open(&rig.disks, &[kek("old")]).unwrap();
}

#[test]
fn what_would_lose_the_volume_is_refused_with_the_reason() {
    let (a, b) = (kek("a"), kek("b"));
    let mut rig = rig(&[a.clone(), b.clone()], false);
    let remove = |name: &str| WrapChange { add: None, remove: Removal::By(name.into()), generation: None };
    let refusal = |rig: &Rig, asked: &WrapChange<'_>| change(rig, asked).err().map(why).unwrap();
    assert!(refusal(&rig, &remove("c")).contains("no wrap is by the KEK c; there are wraps by a, b"));
    rig.keks = vec![a.clone()];
    // What stays could not be proven here: nobody has its KEK.
    assert!(refusal(&rig, &remove("a")).contains("would be left without a wrap that is proven to open"));
    assert!(rig.volume.openings()[&Generation(1)].kek_id == "a");
    rig.keks = vec![b.clone()];
    let new = kek("new");
    assert!(refusal(&rig, &to(&new)).contains("its first wrap is by a: say whose wraps go"), "a fallback is in use");
    rig.keks = vec![a, b];
    let changed = change(&rig, &remove("file:/a")).unwrap();
    assert_eq!((changed.keks.len(), changed.retired.as_slice()), (1, ["file:/a".to_string()].as_slice()));
    rig.keks = changed.keks;
    assert!(refusal(&rig, &remove("b")).contains("would have no wrap left"));
    let only = WrapChange { generation: Some(Generation(9)), ..remove("b") };
    assert!(refusal(&rig, &only).contains("no generation 9"));
    let read_only = Arc::new(open(&rig.disks, &rig.keks).unwrap());
    let error = read_only.change_wraps(&rig.keks, &remove("b"), &mut |_| {}).err().map(why).unwrap();
    assert!(error.contains("read-only"), "{error}");
}

#[test]
fn as_many_wraps_as_there_is_room_for_come_and_go_and_leave_nothing() {
    let mut rig = rig(&[kek("0")], false);
    let mut blobs = Vec::new();
    for name in 1..WRAPS_MAX {
        // Long names make a table of many blocks, so that a shorter one leaves much behind.
        let new = kek(&format!("{name}{}", "x".repeat(200)));
        let add = Some(Addition { kek: &new, first: false });
        rig.keks = change(&rig, &WrapChange { add, remove: Removal::Nothing, generation: None }).unwrap().keks;
    }
    for entry in rig.volume.table().entries {
        assert_eq!(entry.wraps.len(), WRAPS_MAX);
        blobs.extend(entry.wraps.into_iter().skip(1).map(|wrap| wrap.blob));
    }
    let one_more = kek("8");
    let error = change(&rig, &to(&one_more)).err().map(why).unwrap();
    assert!(error.contains("has 8 wraps"), "{error}");
    for _ in 1..WRAPS_MAX {
        let last = rig.keks.last().unwrap().describe().label.clone();
        let changed = change(&rig, &WrapChange { add: None, remove: Removal::By(last), generation: None }).unwrap();
        assert!(changed.swept.is_ok());
        rig.keks = changed.keks;
    }
    let zone = zone(&rig);
    assert!(blobs.iter().all(|blob| !holds(&zone, blob)));
    // Whatever an older table left, also one written before this process.
    let again = Rig::on(rig.disks.clone(), vec![kek("0")], EngineKind::AwsLc);
    assert_eq!(wraps(&again.volume), [(0, vec!["0".into()]), (1, vec!["0".into()])].into());
}

/// Only the generation asked for changes; the next generation is wrapped for whoever the controller then has.
#[test]
fn one_generation_alone_may_change() {
    let (old, new) = (kek("old"), kek("new"));
    let mut rig = rig(&[old], false);
    let changed = change(&rig, &WrapChange { generation: Some(Generation(1)), ..to(&new) }).unwrap();
    assert_eq!(wraps(&rig.volume), [(0, vec!["old".into()]), (1, vec!["new".into()])].into());
    let labels: Vec<_> = changed.keks.iter().map(|kek| kek.describe().label.clone()).collect();
    assert_eq!(labels, ["file:/new", "file:/old"], "both are needed");
    rig.keks = changed.keks;
    assert!(open(&rig.disks, &[kek("new")]).is_err() && open(&rig.disks, &[kek("old")]).is_err());
    open(&rig.disks, &rig.keks).unwrap();
    rig.volume.start_rotation(&rig.keks, &spec(Suite::Aes256Xts)).unwrap();
    assert_eq!(wraps(&rig.volume)[&2], ["new", "old"]);
    assert_eq!(rig.volume.openings()[&Generation(2)].kek_id, "new");
}

#[test]
fn plaintext_has_no_wraps_and_none_are_made() {
    let disks = Disks::in_memory(&small(), false);
    disks.create(&small(), Suite::None, &OpenKek::list());
    let rig = Rig::on(disks, OpenKek::list(), EngineKind::AwsLc);
    let only = WrapChange { generation: Some(Generation(1)), ..to(&rig.keks[0]) };
    assert!(change(&rig, &only).err().map(why).unwrap().contains("no wrapped key"));
}
