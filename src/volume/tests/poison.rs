//! Poisoning writes a superblock whenever it must, also while a checkpoint's is still in the cache. Wherever the power goes,
//! one of the two copies must be whole.

use std::sync::Arc;

use super::kek::OpenKek;
use super::sim::rng::Rng;
use super::sim::work::{Run, Setting, disks_of};
use super::sim::world::World;
use crate::crypto::EngineKind;
use crate::volume::rules::{Rule, drop_rule};

/// Poisons a volume in the middle of its rotation, cuts the power after each operation from there on, many times over, and
/// opens what is left. The number of images, or what went wrong.
fn poison_and_cut(seed: u64) -> Result<u64, String> {
    let mut setting = Setting { actions: 4 + seed as usize % 40, ..Setting::new(seed) };
    setting.shape.granule = 512; // a superblock is longer than that
    setting.device_granule = 512;
    let mut run = Run::prepare(setting);
    run.under_way(Run::begin);
    let mut disks = run.world.states();
    let number = run.world.next_number();
    run.volume.poison("test");
    run.between();
    let history = run.world.take_history();
    let mut rng = Rng::new(seed);
    let mut images = 0;
    for (at, event) in (number..).zip(&history[(number as usize)..]) {
        event.play(at, &mut disks);
        for _ in 0..12 {
            let image = disks.iter().map(|disk| disk.crash(&mut rng)).collect();
            let world = World::new(image, 0);
            let opened = disks_of(&world, setting.detached).open(&OpenKek::list(), EngineKind::AwsLc, true);
            drop(Arc::new(opened.map_err(|error| format!("seed {seed}: {error}"))?));
            images += 1;
        }
    }
    Ok(images)
}

#[test]
fn a_superblock_survives_poisoning_at_any_moment() {
    let images: u64 = (1..=60).map(|seed| poison_and_cut(seed).unwrap()).sum();
    assert!(images > 500, "{images}");
}

#[test]
fn with_both_superblocks_in_the_cache_one_crash_takes_both() {
    drop_rule(Some(Rule::OneSuperblock));
    let caught = (1..=60).find_map(|seed| poison_and_cut(seed).err());
    drop_rule(None);
    println!("{}", caught.expect("the suite must notice"));
}
