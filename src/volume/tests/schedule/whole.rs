//! A whole volume, real executors, pipeline and cipher, under many schedules.

use super::client::Worker;
use super::explore::{holds, wrong};
use super::house::{House, Template};
use crate::format::layout::WriteMode;

/// Clients on two workers beside a rotation: reads never mix generations, a write answered on one connection is seen
/// and flushed by another, no sub-unit update is lost, rule R0 and the hold are kept, and everybody is answered.
#[test]
fn clients_beside_a_rotation() {
    let template = Template::new(WriteMode::InPlace);
    holds(1500, move |seed| {
        let mut house = House::open(&template, seed);
        house.workers(2, 8, |worker| worker);
        house.rotation(seed % 2 == 0);
        house.close_in_order();
    });
}

#[test]
fn clients_beside_a_rotation_in_journal_mode() {
    let template = Template::new(WriteMode::Journal);
    holds(700, move |seed| {
        let mut house = House::open(&template, seed);
        house.workers(2, 7, |worker| worker);
        house.rotation(seed % 2 == 0);
        house.close_in_order();
    });
}

/// Three workers on two places, no rotation: arrival order and flushes alone.
#[test]
fn connections_agree() {
    let template = Template::new(WriteMode::InPlace);
    holds(1500, move |seed| {
        let mut house = House::open(&template, seed);
        house.workers(3, 8, |worker| worker);
        house.close_in_order();
    });
}

/// Connections die with writes on their way: what had not begun is dropped, and nothing lands over newer data.
#[test]
fn connections_that_die() {
    let template = Template::new(WriteMode::InPlace);
    holds(1200, move |seed| {
        let mut house = House::open(&template, seed);
        house.workers(2, 10, |worker: Worker| worker.dies_once_in(4));
        house.rotation(seed % 2 == 0);
        house.close_in_order();
    });
}

/// A flush fails in the middle: nothing is durable by word that is not durable in fact, and nobody waits for ever.
#[test]
fn a_flush_that_fails() {
    let template = Template::new(WriteMode::InPlace);
    holds(1200, move |seed| {
        let mut house = House::open(&template, seed);
        let count = house.rng.below(6);
        house.scene.data.fail_flush(count);
        house.workers(2, 8, |worker| worker);
        house.rotation(seed % 2 == 0);
        house.close();
    });
}

/// Somebody poisons the volume at any moment.
#[test]
fn poison_at_any_moment() {
    let template = Template::new(WriteMode::InPlace);
    holds(1200, move |seed| {
        let mut house = House::open(&template, seed);
        let (volume, turns) = (house.scene.volume.clone(), house.rng.below(200));
        house.invite(move || {
            (0..turns).for_each(|_| shuttle::thread::yield_now());
            volume.poison("test");
        });
        house.workers(2, 8, |worker| worker);
        house.rotation(seed % 2 == 0);
        let volume = house.scene.volume.clone();
        house.close();
        if volume.poisoned().is_none() {
            wrong("nobody poisoned it");
        }
    });
}

/// A worker ends in the middle of everything: nobody waits for it, neither behind its parked writes nor for a flush that
/// it was to do.
#[test]
fn a_worker_that_is_gone() {
    let template = Template::new(WriteMode::InPlace);
    holds(1500, move |seed| {
        let mut house = House::for_ghosts(&template, seed);
        let ghost = Worker::new(house.scene.clone(), house.rng.next());
        let count = 1 + house.rng.below(8) as usize;
        house.invite(move || ghost.vanish_after(count));
        house.workers(2, 8, |worker| worker);
        house.rotation(false);
        house.close();
    });
}
