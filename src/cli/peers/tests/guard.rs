//! What the coordinator says reaches the state machine, and records reach the coordinator, or the reason why not.

use super::*;
use crate::cli::peers::notary::NodeNotary;
use crate::cli::peers::sample;
use crate::cluster::coordinator::Freeze;
use crate::cluster::coordinator::memory::MemoryStore;
use crate::cluster::durable::Durable;
use crate::cluster::node::Node;

fn durable() -> Durable {
    let (a, b) = (sample::keys("a"), sample::keys("b"));
    Durable::found(sample::genesis(&[&a, &b]), &NodeNotary::new(a)).unwrap()
}

fn watch(coordinator: Arc<dyn Coordinator>, me: &str) -> (Watch, Receiver<Input>, Durable) {
    let durable = durable();
    let me: NodeName = me.parse().unwrap();
    let node = Node::new(me.clone(), durable.clone(), vec![1], 1);
    let (seat, inbox) = sync_channel(64);
    let shown = Shown { view: Some(node.view(1)), ..Shown::default() };
    let leave = Arc::new(Leave::new(coordinator, sample::VOLUME, 1));
    let watch =
        Watch { leave, goes_first: me.as_str() == "a", me, may_lead: true, seat, shown: Arc::new(Mutex::new(shown)) };
    (watch, inbox, durable)
}

fn at_once() -> Due {
    let now = Instant::now();
    Due { question: now, campaign: now, word: now, is_away: false }
}

#[test]
fn who_wins_the_lease_is_told_to_lead_in_its_epoch_and_the_old_lead_to_stop() {
    let fleet = MemoryStore::new();
    let (b, inbox_b, _) = watch(Arc::new(fleet.node("b".parse().unwrap())), "b");
    let mut due = at_once();
    b.look(&mut due);
    assert!(matches!(inbox_b.try_recv(), Ok(Input::Coordinator(None))));
    b.look(&mut due);
    let Ok(Input::Ask(Command::Promote(epoch), _, _)) = inbox_b.try_recv() else { panic!("b is not told to lead") };
    assert!(epoch >= 2, "the record's epoch is over");
    let (a, inbox_a, _) = watch(Arc::new(fleet.node("a".parse().unwrap())), "a");
    let mut due = at_once();
    a.look(&mut due);
    a.look(&mut due);
    let told = inbox_a.try_iter().any(|input| matches!(input, Input::Ask(Command::StepDown, _, _)));
    assert!(told, "a goes on leading beside b");
}

#[test]
fn a_freeze_stops_what_goes_forward_and_not_what_goes_back() {
    let fleet = MemoryStore::new();
    let (a, _inbox, durable) = watch(Arc::new(fleet.node("a".parse().unwrap())), "a");
    let Campaign::Won { epoch } = a.leave.coordinator.campaign(sample::VOLUME, 1).unwrap() else { panic!("held") };
    let order = |revision, is_safe| {
        let mut signed = Box::new(durable.committed.clone());
        signed.record.stamp = Stamp::new(epoch, revision);
        Order { ticket: 1, previous: Stamp::new(1, 1), signed, is_safe }
    };
    a.publish(&order(2, false)).unwrap();
    a.leave.coordinator.freeze(&Freeze { by: "ops".into(), reason: "audit".into(), since: 1 }).unwrap();
    let refused = a.publish(&Order { previous: Stamp::new(epoch, 2), ..order(3, false) });
    assert!(matches!(refused, Err(CoordinatorError::Frozen(_))), "{refused:?}");
    assert!(a.leave.take(1).unwrap_err().contains("audit"));
    a.publish(&Order { previous: Stamp::new(epoch, 2), ..order(3, true) }).unwrap();
}

#[test]
fn what_makes_safe_does_not_wait_for_a_coordinator_that_is_away_and_is_published_when_it_is_back() {
    let fleet = MemoryStore::new();
    let (a, inbox, durable) = watch(Arc::new(fleet.node("a".parse().unwrap())), "a");
    let Campaign::Won { epoch } = a.leave.coordinator.campaign(sample::VOLUME, 1).unwrap() else { panic!("held") };
    let signed = |revision| {
        let mut signed = Box::new(durable.committed.clone());
        signed.record.stamp = Stamp::new(epoch, revision);
        signed
    };
    let order = |revision, is_safe| {
        let previous = Stamp::new(if revision == 2 { 1 } else { epoch }, revision - 1);
        Order { ticket: 1, previous, signed: signed(revision), is_safe }
    };
    a.go_forward(&order(2, false), false).unwrap();
    fleet.set_quorum(false);
    let refused = a.go_forward(&order(3, false), false);
    assert!(matches!(refused, Err(CoordinatorError::NoQuorum(_))), "{refused:?}");
    a.go_forward(&order(3, true), false).unwrap();
    let mut due = at_once();
    a.look(&mut due);
    assert!(due.is_away);
    fleet.set_quorum(true);
    a.go_forward(&order(3, true), due.is_away).unwrap();
    let there = || a.leave.coordinator.fetch(sample::VOLUME).unwrap().unwrap().stamp;
    assert_eq!(there(), Stamp::new(epoch, 2), "what is away is not asked");
    {
        let mut shown = a.shown.lock().unwrap();
        let view = shown.view.as_mut().unwrap();
        (view.durable.committed, view.leads) = (*signed(3), true);
    }
    a.look(&mut at_once());
    assert_eq!(there(), Stamp::new(epoch, 3));
    assert!(inbox.try_iter().any(|input| matches!(input, Input::Coordinator(Some(_)))));
}

/// What makes safe does not get past a coordinator that says who leads instead.
#[test]
fn a_lead_that_the_coordinator_has_replaced_makes_nothing_safe() {
    let fleet = MemoryStore::new();
    let (a, _inbox, durable) = watch(Arc::new(fleet.node("a".parse().unwrap())), "a");
    let (b, _inbox, _) = watch(Arc::new(fleet.node("b".parse().unwrap())), "b");
    let Campaign::Won { epoch } = a.leave.coordinator.campaign(sample::VOLUME, 1).unwrap() else { panic!("held") };
    fleet.expire(&"a".parse().unwrap());
    assert!(matches!(b.leave.coordinator.campaign(sample::VOLUME, 1), Ok(Campaign::Won { .. })));
    let mut signed = Box::new(durable.committed.clone());
    signed.record.stamp = Stamp::new(epoch, 2);
    let order = Order { ticket: 1, previous: Stamp::new(1, 1), signed, is_safe: true };
    let refused = a.go_forward(&order, false);
    assert!(matches!(refused, Err(CoordinatorError::NotLead { .. })), "{refused:?}");
}

/// A lead died between its publication and the first member's answer: nobody else has the record that stands there.
#[test]
fn a_record_that_only_a_dead_lead_held_gives_way_to_the_next_leads() {
    let fleet = MemoryStore::new();
    let (a, _inbox, durable) = watch(Arc::new(fleet.node("a".parse().unwrap())), "a");
    let (b, _inbox, _) = watch(Arc::new(fleet.node("b".parse().unwrap())), "b");
    let won = |watch: &Watch| match watch.leave.coordinator.campaign(sample::VOLUME, 1) {
        Ok(Campaign::Won { epoch }) => epoch,
        other => panic!("{other:?}"),
    };
    let order = |epoch, revision, previous| {
        let mut signed = Box::new(durable.committed.clone());
        signed.record.stamp = Stamp::new(epoch, revision);
        Order { ticket: 1, previous, signed, is_safe: false }
    };
    let first = won(&a);
    a.publish(&order(first, 2, Stamp::new(1, 1))).unwrap();
    fleet.expire(&"a".parse().unwrap());
    let second = won(&b);
    b.publish(&order(second, 2, Stamp::new(1, 1))).unwrap();
    let there = b.leave.coordinator.fetch(sample::VOLUME).unwrap().unwrap();
    assert_eq!(there.stamp, Stamp::new(second, 2));
    let late = a.publish(&order(first, 3, Stamp::new(first, 2)));
    assert!(matches!(late, Err(CoordinatorError::Moved { .. })), "{late:?}");
}

#[test]
fn a_node_that_is_out_gives_the_lead_up() {
    let fleet = MemoryStore::new();
    let (a, _inbox, _) = watch(Arc::new(fleet.node("a".parse().unwrap())), "a");
    a.look(&mut at_once());
    assert!(matches!(a.leave.coordinator.standing(sample::VOLUME), Standing::Leads { .. }));
    let mut view = a.shown.lock().unwrap().view.clone().unwrap();
    view.durable.out = Some("its file of peers is an old copy".into());
    a.shown.lock().unwrap().view = Some(view);
    a.look(&mut at_once());
    assert_eq!(a.leave.coordinator.lead(sample::VOLUME), Ok(None));
}

#[test]
fn what_is_the_matter_with_the_coordinator_is_told_by_whoever_leads_too() {
    let fleet = MemoryStore::new();
    let (a, inbox, _) = watch(Arc::new(fleet.node("a".parse().unwrap())), "a");
    a.look(&mut at_once());
    assert!(matches!(inbox.try_iter().last(), Some(Input::Coordinator(None))));
    fleet.set_quorum(false);
    a.look(&mut at_once());
    let told = inbox.try_iter().find_map(|input| match input {
        Input::Coordinator(trouble) => trouble,
        _ => None,
    });
    assert!(told.is_some_and(|why| why.contains("no quorum")));
}

#[test]
fn a_leave_to_rotate_is_one_volumes_until_its_change_has_ended() {
    let fleet = MemoryStore::new();
    let coordinator: Arc<dyn Coordinator> = Arc::new(fleet.node("a".parse().unwrap()));
    let other = VolumeId([9; 16]);
    for volume in [sample::VOLUME, other] {
        coordinator.campaign(volume, 1).unwrap();
    }
    let first = Leave::new(Arc::clone(&coordinator), sample::VOLUME, 1);
    let second = Leave::new(Arc::clone(&coordinator), other, 1);
    first.take(1).unwrap();
    assert!(second.take(1).unwrap_err().contains("1 volumes may rotate at a time"));
    let node = Node::new("a".parse().unwrap(), durable(), vec![1], 1);
    let mut view = node.view(1);
    first.settle(&view);
    assert!(second.take(1).is_err(), "the change has not begun yet");
    view.durable.committed.record.change.id = 1;
    view.durable.committed.record.change.step = Step::Finalized;
    first.settle(&view);
    second.take(1).unwrap();
}
