//! The comparison over replicas in memory: what it finds, what it does not call different, and what a hostile replica can do.

mod hostile;
mod world;

use super::report::{LISTED_MAX, Report};
use super::*;
use crate::units::Generation;
use world::{EXTENT, World, name};

/// Bytes of the test's disk: not a whole number of extents, nor of blocks.
const SIZE: u64 = 40 * EXTENT + 3 * 4096 + 512;

fn found(report: &Report) -> Vec<(FindingKind, u64, u64, String)> {
    let nodes = |finding: &Finding| finding.nodes.iter().map(|it| it.as_str()).collect::<Vec<_>>().join(",");
    report.findings.iter().map(|it| (it.kind, it.first, it.end, nodes(it))).collect()
}

#[test]
fn equal_replicas_are_equal_and_all_of_them_was_looked_at() {
    let mut world = World::new(3, SIZE);
    let report = world.run(true);
    assert_eq!((report.outcome.clone(), found(&report)), (Outcome::Done, vec![]));
    assert_eq!((report.done, report.cursor), ((SIZE, SIZE), Cursor { extents: 41, bytes: SIZE }));
    assert!(world.read_by("b") >= SIZE, "b was read to the end");
}

#[test]
fn without_data_no_data_is_read() {
    let mut world = World::new(3, SIZE);
    world.flip("b", 0);
    let report = world.run(false);
    assert_eq!((report.outcome.clone(), found(&report), world.read_by("b")), (Outcome::Done, vec![], 0));
}

/// First and last byte of the disk, of an extent, of a window, of a block, the short block at the end, and one in the middle.
#[test]
fn a_flipped_byte_is_found_and_placed_wherever_it_is() {
    let places =
        [0, 4095, 4096, EXTENT - 1, EXTENT, WINDOW_MAX - 1, WINDOW_MAX, 20 * EXTENT + 777, SIZE - 512, SIZE - 1];
    for place in places {
        for (replicas, alone) in [(2, ""), (3, "b"), (5, "b")] {
            let mut world = World::new(replicas, SIZE);
            world.flip("b", place);
            let report = world.run(true);
            let first = place / 4096 * 4096;
            let expected = vec![(FindingKind::Differs, first, (first + 4096).min(SIZE), alone.to_owned())];
            assert_eq!(
                (report.outcome.clone(), found(&report)),
                (Outcome::Done, expected),
                "byte {place} of {replicas}"
            );
            assert_eq!(report.differing, (first + 4096).min(SIZE) - first);
        }
    }
}

#[test]
fn neighbours_are_one_stretch_and_others_are_others() {
    let mut world = World::new(3, SIZE);
    for block in [7, 8, 9, 255, 256, 4000] {
        world.flip("c", block * 4096);
    }
    let report = world.run(true);
    let places: Vec<(u64, u64)> = report.findings.iter().map(|it| (it.first / 4096, it.end / 4096)).collect();
    assert_eq!(places, [(7, 10), (255, 257), (4000, 4001)]);
}

#[test]
fn a_replica_that_holds_something_else_ends_in_bounded_work() {
    let mut world = World::new(3, SIZE);
    for block in (0..SIZE / 4096).step_by(2) {
        world.flip("c", block * 4096);
    }
    let report = world.run(true);
    assert_eq!(report.outcome, Outcome::Done);
    assert_eq!((report.findings.len(), report.findings[0].nodes.as_slice()), (LISTED_MAX, &[name("c")][..]));
    assert!(report.differing >= SIZE / 2 && report.unlisted > 0, "{} of {SIZE}", report.differing);
    assert!(world.questions < 2000, "{} questions", world.questions);
}

/// A client writes one block again and again, to one replica after the other.
#[test]
fn what_a_client_is_just_writing_is_not_called_different() {
    let mut world = World::new(3, SIZE);
    world.writes(3 * 4096, 4, 5);
    let report = world.run(true);
    assert_eq!((report.outcome.clone(), report.differing), (Outcome::Done, 0), "{:?}", report.findings);
}

/// The same, but the client ends while the block is doubtful: it is equal then, and nothing is reported.
#[test]
fn what_becomes_equal_is_equal() {
    let mut world = World::new(2, SIZE);
    world.flip("b", 0);
    world.mend_at = Some(("b", 0, 1200));
    let report = world.run(true);
    assert_eq!((report.outcome.clone(), found(&report)), (Outcome::Done, vec![]));
}

#[test]
fn a_block_that_never_comes_to_rest_is_busy() {
    let mut world = World::new(2, SIZE);
    world.writes(5 * 4096, u64::MAX, 1);
    let report = world.run(true);
    assert_eq!(found(&report), [(FindingKind::Busy, 5 * 4096, 6 * 4096, String::new())]);
}

#[test]
fn a_difference_beside_a_busy_block_is_found() {
    let mut world = World::new(3, SIZE);
    world.writes(5 * 4096, u64::MAX, 1);
    world.flip("c", 7 * 4096);
    let report = world.run(true);
    assert_eq!((report.differing, report.busy), (4096, 4096));
}

#[test]
fn what_a_replica_cannot_read_is_said_once_and_the_others_are_compared() {
    let mut world = World::new(3, SIZE);
    world.replica("b").closed = vec![2, 3];
    world.flip("c", 2 * EXTENT);
    let report = world.run(true);
    let expected = [
        (FindingKind::Differs, 2 * EXTENT, 2 * EXTENT + 4096, String::new()),
        (FindingKind::Unreadable, 2 * EXTENT, 4 * EXTENT, "b".to_owned()),
    ];
    assert_eq!(found(&report), expected, "two that differ have no majority");
    assert_eq!((report.unreadable, report.differing), (2 * EXTENT, 4096));
}

#[test]
fn replicas_that_drain_are_shown_as_draining_not_as_damage() {
    let mut world = World::new(3, SIZE);
    for (node, drained) in [("a", 41), ("b", 20), ("c", 7)] {
        let replica = world.replica(node);
        (replica.target, replica.moving) = (Generation(2), drained < 41);
        replica.tags[..drained].fill(2);
    }
    world.flip("b", 9 * EXTENT);
    let report = world.run(true);
    assert_eq!(
        (report.draining, report.differing),
        (SIZE, 4096),
        "the map is one range; the data are compared all the same"
    );
    let lagging = &mut World::new(2, SIZE);
    lagging.replica("b").target = Generation(2);
    lagging.replica("b").tags.fill(2);
    let report = lagging.run(false);
    assert_eq!((report.draining, report.differing), (SIZE, 0), "one has not heard of the new generation yet");
}

#[test]
fn generations_that_differ_although_nothing_drains_are_damage() {
    let mut world = World::new(3, 5000 * EXTENT);
    world.replica("c").tags[4321] = 9;
    let report = world.run(false);
    assert_eq!(found(&report), [(FindingKind::Differs, 4321 * EXTENT, 4322 * EXTENT, "c".to_owned())]);
}

#[test]
fn the_pace_is_kept() {
    let mut world = World::new(2, SIZE);
    world.bytes_per_s = Some(1 << 20);
    let report = world.run(true);
    let (read, spent) = (world.read_by("a"), world.now);
    assert_eq!(report.outcome, Outcome::Done);
    assert!(spent >= (read - WINDOW_MAX) * 1000 / (1 << 20), "{read} bytes in {spent} ms");
}

#[test]
fn another_one_goes_on_where_the_first_came_to() {
    let mut world = World::new(2, 5 * WINDOW_MAX);
    world.flip("b", 3 * WINDOW_MAX);
    // Shape, generations, and four windows, of which the last one is not settled when it falls silent.
    world.replica("b").silent_after = Some(6);
    let report = world.run(true);
    assert!(matches!(report.outcome, Outcome::Failed(_)), "{report:?}");
    assert_eq!(report.cursor, Cursor { extents: 80, bytes: 3 * WINDOW_MAX });
    world.replica("b").silent_after = None;
    world.from = report.cursor;
    let rest = world.run(true);
    assert_eq!((rest.outcome.clone(), rest.findings[0].first, rest.differing), (Outcome::Done, 3 * WINDOW_MAX, 4096));
}
