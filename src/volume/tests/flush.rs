//! The flush clock: rule R0 in the orders that matter, and who is served by which flush.

use std::sync::Arc;

use super::*;
use crate::volume::inbox::Bell;

const E: Extent = Extent(70);

fn bell() -> (Arc<Bell>, Ticket) {
    let bell = Arc::new(Bell::default());
    (Arc::clone(&bell), Ticket::Thread(bell))
}

fn flush(group: &FlushGroup) {
    let (_, ticket) = bell();
    assert_eq!(group.ask(ticket, false), Ask::Start);
    let (served, again) = group.finish(true);
    assert_eq!((served.len(), again), (1, false));
}

#[test]
fn a_write_is_clean_only_behind_a_flush_that_started_after_it() {
    let group = FlushGroup::new(100);
    assert!(group.is_clean(E));
    group.mark(E);
    assert!(!group.is_clean(E));
    flush(&group);
    assert!(group.is_clean(E));
    assert!(group.is_clean(Extent(0)) && group.is_clean(Extent(99)));
}

#[test]
fn a_write_that_completes_during_a_flush_waits_for_the_next() {
    let group = FlushGroup::new(100);
    let (_, ticket) = bell();
    assert_eq!(group.ask(ticket, false), Ask::Start);
    group.mark(E);
    group.finish(true);
    assert!(!group.is_clean(E));
    flush(&group);
    assert!(group.is_clean(E));
}

#[test]
fn a_failed_flush_cleans_nothing() {
    let group = FlushGroup::new(100);
    group.mark(E);
    let (_, ticket) = bell();
    group.ask(ticket, false);
    group.finish(false);
    assert!(!group.is_clean(E));
}

#[test]
fn who_asks_during_a_flush_is_served_by_the_next_together() {
    let group = FlushGroup::new(1);
    let asks: Vec<Ask> = (0..3).map(|_| group.ask(bell().1, true)).collect();
    assert_eq!(asks, [Ask::Start, Ask::Queued, Ask::Queued]);
    let (served, again) = group.finish(true);
    assert_eq!((served.len(), again), (1, true), "the next one has begun");
    let (served, again) = group.finish(true);
    assert_eq!((served.len(), again), (2, false));
    assert_eq!(group.started(), 2);
}

#[test]
fn who_joins_is_served_by_the_next_flush_or_hurries_one() {
    let group = FlushGroup::new(1);
    assert!(!group.hurry(), "nobody waits");
    group.join(bell().1);
    assert_eq!(group.ask(bell().1, true), Ask::Start, "a client's flush takes the joined along");
    assert_eq!(group.finish(true).0.len(), 2);
    group.join(bell().1);
    assert!(group.hurry());
    assert!(!group.hurry(), "it runs already");
    assert_eq!(group.finish(true).0.len(), 1);
}
