//! Positive controls: a harness that finds nothing in something broken would find nothing in anything. Each test breaks one
//! thing, by another order of the same calls or by a rule dropped, and says as what it must be noticed.

use super::client::Worker;
use super::engine::TurnEngine;
use super::explore::noticed;
use super::house::{House, Template};
use super::parts::{CLOCK, FLUSHES, GATES, Model, Order, party};
use crate::engine::Engine;
use crate::format::layout::WriteMode;
use crate::volume::rules::{Rule, drop_rule};

/// Schedules tried before something broken counts as not noticed.
const MOST: u64 = 3000;

#[test]
fn a_write_that_leaves_before_it_is_marked() {
    noticed(MOST, "R0", |_| party(&Model::new(Order::LeaveThenMark), CLOCK));
}

#[test]
fn a_tag_that_changes_before_the_image_is_written() {
    noticed(MOST, "the tag was", |_| party(&Model::new(Order::TagThenImage), GATES));
}

#[test]
fn a_rewrite_that_readers_are_not_told_of() {
    noticed(MOST, "the tag", |_| party(&Model::new(Order::ImageUnannounced), GATES));
}

#[test]
fn a_flush_that_forgets_who_asked_meanwhile() {
    noticed(MOST, "deadlock", |_| party(&Model::new(Order::ForgetWaiting), FLUSHES));
}

/// The whole volume without one of its rules, with clients beside a rotation.
fn without(rule: Rule, word: &'static str) {
    let template = Template::new(WriteMode::InPlace);
    noticed(MOST, word, move |seed| {
        drop_rule(Some(rule));
        let mut house = House::open(&template, seed);
        house.workers(2, 8, |worker| worker);
        house.rotation(true);
        house.close_in_order();
    });
}

#[test]
fn without_r0() {
    without(Rule::R0, "R0");
}

#[test]
fn without_waiting_for_the_image() {
    without(Rule::ReleaseAfterData, "garbage");
}

#[test]
fn without_arrival_order() {
    without(Rule::ArrivalOrder, "stale");
}

#[test]
fn without_waiting_for_readers() {
    without(Rule::ReadersFirst, "garbage");
}

/// A worker whose mailbox rings somewhere else sleeps through its turn.
#[test]
fn a_mailbox_that_wakes_nobody() {
    let template = Template::new(WriteMode::InPlace);
    noticed(MOST, "deadlock", move |seed| {
        let mut house = House::open(&template, seed);
        for _ in 0..2 {
            let (engine, elsewhere) = (TurnEngine::new(None), TurnEngine::new(None).waker());
            let mut worker = Worker::woken_by(house.scene.clone(), house.rng.next(), engine, elsewhere);
            house.invite(move || worker.work(8));
        }
        house.close();
    });
}

/// A worker that ends without giving up its places: others wait for its flush, or behind its parked writes, for ever.
#[test]
fn without_leaving_in_order() {
    let template = Template::new(WriteMode::InPlace);
    noticed(MOST, "deadlock", move |seed| {
        drop_rule(Some(Rule::LeaveInOrder));
        let mut house = House::for_ghosts(&template, seed);
        let ghost = Worker::new(house.scene.clone(), house.rng.next());
        let count = 1 + house.rng.below(8) as usize;
        house.invite(move || ghost.vanish_after(count));
        house.workers(2, 8, |worker| worker);
        house.close();
    });
}
