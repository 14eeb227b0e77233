//! What every coordinator must do, whatever it stands on. Each case is given a fresh world.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread;

use keymoult::cluster::coordinator::{
    Campaign, Coordinator, CoordinatorError, DuringFreeze, Freeze, Lead, Publication, Published, REQUEST_MAX, Request,
    STATE_MAX, Standing, Taken,
};
use keymoult::cluster::stamp::Stamp;
use keymoult::units::VolumeId;

/// A coordinator, and what can befall it and its nodes.
pub trait World: Sync {
    /// A node's process, started anew.
    fn node(&self, name: &str) -> Box<dyn Coordinator>;
    /// Ends a node's lease at once.
    fn expire(&self, name: &str);
    /// Does something, and then puts the coordinator back to what it was before.
    fn rewind(&self, between: &mut dyn FnMut());
    /// Loses everything.
    fn wipe(&self);
}

/// A case.
pub type Case = fn(&dyn World);

/// All cases.
pub const CASES: &[(&str, Case)] = &[
    ("one-leads", one_leads),
    ("guarded", a_record_follows_the_one_before),
    ("lease", a_lost_lease_writes_nothing),
    ("restart", a_new_process_waits_for_the_old_ones_lease),
    ("epochs", epochs_only_grow),
    ("freeze", a_freeze_is_seen_by_all),
    ("tokens", tokens_belong_to_volumes),
    ("waves", tokens_never_exceed_the_limit),
    ("board", states_are_shown_while_a_node_lives),
    ("requests", requests_wait_for_the_lead),
    ("bounds", what_is_too_long_is_refused),
];

/// Cases about a coordinator that lost something; each needs a coordinator of its own.
pub const LOSSES: &[(&str, Case)] = &[("rewound", a_rewound_history_is_noticed), ("wiped", a_wiped_one_is_noticed)];

const V: VolumeId = VolumeId([7; 16]);
const W: VolumeId = VolumeId([8; 16]);

/// The epoch of a campaign that was won.
pub fn won(campaign: Result<Campaign, CoordinatorError>) -> u64 {
    match campaign {
        Ok(Campaign::Won { epoch }) => epoch,
        other => panic!("not won: {other:?}"),
    }
}

fn lead(node: &str, epoch: u64) -> Lead {
    Lead { node: node.parse().unwrap(), epoch }
}

/// Publishes a record that a freeze would stop.
pub fn publish(
    on: &dyn Coordinator,
    volume: VolumeId,
    previous: Option<Stamp>,
    stamp: Stamp,
    record: &[u8],
) -> Result<(), CoordinatorError> {
    on.publish(&Publication { volume, previous, stamp, record, during_freeze: DuringFreeze::Refused })
}

fn is_backwards<T>(answer: &Result<T, CoordinatorError>) -> bool {
    matches!(answer, Err(CoordinatorError::Backwards(_)))
}

fn one_leads(world: &dyn World) {
    let (a, b) = (world.node("a"), world.node("b"));
    assert_eq!(a.lead(V).unwrap(), None);
    assert_eq!(a.standing(V), Standing::Follows { lead: None });
    assert_eq!(won(a.campaign(V, 0)), 1);
    assert_eq!(a.standing(V), Standing::Leads { epoch: 1 });
    assert_eq!(b.campaign(V, 9).unwrap(), Campaign::Held(lead("a", 1)));
    assert_eq!(b.standing(V), Standing::Follows { lead: Some(lead("a", 1)) });
    assert_eq!(won(a.campaign(V, 0)), 1, "it leads already");
    assert_eq!(won(b.campaign(W, 0)), 1, "another volume has a lead of its own");
    assert_eq!(b.lead(V).unwrap(), Some(lead("a", 1)));
    a.resign(V).unwrap();
    assert_eq!(a.standing(V), Standing::Follows { lead: None });
    a.resign(V).unwrap();
    assert_eq!(won(b.campaign(V, 0)), 2);
}

fn a_record_follows_the_one_before(world: &dyn World) {
    let (a, b) = (world.node("a"), world.node("b"));
    let one = Stamp::new(1, 1);
    assert_eq!(publish(&*a, V, None, one, b"1"), Err(CoordinatorError::NotLead { lead: None }));
    assert_eq!(won(a.campaign(V, 0)), 1);
    assert_eq!(a.fetch(V).unwrap(), None);
    publish(&*a, V, None, one, b"1").unwrap();
    publish(&*a, V, None, one, b"1").unwrap();
    assert_eq!(b.fetch(V).unwrap(), Some(Published { stamp: one, record: b"1".to_vec() }));
    let two = Stamp::new(1, 2);
    assert_eq!(publish(&*b, V, Some(one), two, b"2"), Err(CoordinatorError::NotLead { lead: Some(lead("a", 1)) }));
    let moved = CoordinatorError::Moved { expected: None, found: Some(one) };
    assert_eq!(publish(&*a, V, None, two, b"2"), Err(moved));
    publish(&*a, V, Some(one), two, b"2").unwrap();
    let moved = CoordinatorError::Moved { expected: Some(one), found: Some(two) };
    assert_eq!(publish(&*a, V, Some(one), Stamp::new(1, 3), b"3"), Err(moved));
    publish(&*a, V, Some(two), two, b"2").unwrap();
    let not_after = CoordinatorError::NotAfter { stamp: two, previous: two };
    assert_eq!(publish(&*a, V, Some(two), two, b"other"), Err(not_after));
    let lead = Some(lead("a", 1));
    assert_eq!(publish(&*a, V, Some(two), Stamp::new(2, 3), b"3"), Err(CoordinatorError::NotLead { lead }));
    assert_eq!(b.fetch(V).unwrap().unwrap().stamp, two);
}

fn a_lost_lease_writes_nothing(world: &dyn World) {
    let (a, b) = (world.node("a"), world.node("b"));
    won(a.campaign(V, 0));
    let one = Stamp::new(1, 1);
    publish(&*a, V, None, one, b"1").unwrap();
    world.expire("a");
    let two = Stamp::new(1, 2);
    assert_eq!(publish(&*a, V, Some(one), two, b"2"), Err(CoordinatorError::NotLead { lead: None }));
    assert_eq!(a.standing(V), Standing::Follows { lead: None });
    assert_eq!(won(b.campaign(V, 0)), 2);
    publish(&*b, V, Some(one), Stamp::new(2, 2), b"3").unwrap();
    assert_eq!(publish(&*a, V, Some(one), two, b"2"), Err(CoordinatorError::NotLead { lead: Some(lead("b", 2)) }));
    assert_eq!(a.campaign(V, 1).unwrap(), Campaign::Held(lead("b", 2)));
    assert_eq!(a.fetch(V).unwrap(), Some(Published { stamp: Stamp::new(2, 2), record: b"3".to_vec() }));
}

fn a_new_process_waits_for_the_old_ones_lease(world: &dyn World) {
    let a = world.node("a");
    won(a.campaign(V, 0));
    drop(a);
    let again = world.node("a");
    assert_eq!(again.campaign(V, 1).unwrap(), Campaign::Held(lead("a", 1)));
    assert_eq!(
        publish(&*again, V, None, Stamp::new(1, 1), b"1"),
        Err(CoordinatorError::NotLead { lead: Some(lead("a", 1)) })
    );
    world.expire("a");
    assert_eq!(won(again.campaign(V, 1)), 2);
}

fn epochs_only_grow(world: &dyn World) {
    let (a, b) = (world.node("a"), world.node("b"));
    assert_eq!(won(a.campaign(V, 6)), 7, "above what members have promised");
    assert_eq!(won(a.campaign(V, 6)), 7);
    assert_eq!(won(a.campaign(V, 7)), 8, "members have promised more since");
    publish(&*a, V, None, Stamp::new(8, 1), b"1").unwrap();
    world.expire("a");
    assert_eq!(won(b.campaign(V, 0)), 9, "above what was shown before");
    world.expire("b");
    assert_eq!(won(a.campaign(V, 20)), 21);
    assert!(a.campaign(V, u64::MAX - 1).is_ok());
    assert!(a.campaign(V, u64::MAX).is_err(), "there is no epoch above");
}

fn a_freeze_is_seen_by_all(world: &dyn World) {
    let (a, b, c) = (world.node("a"), world.node("b"), world.node("c"));
    won(a.campaign(V, 0));
    assert_eq!(c.frozen().unwrap(), None);
    let freeze = Freeze { by: "op@b".into(), reason: "an incident".into(), since: 77 };
    assert_eq!(b.freeze(&freeze).unwrap(), freeze);
    assert_eq!([&a, &b, &c].map(|node| node.frozen().unwrap()), [(); 3].map(|()| Some(freeze.clone())));
    let other = Freeze { by: "op@c".into(), reason: "mine".into(), since: 78 };
    assert_eq!(c.freeze(&other).unwrap(), freeze, "the first one stays");
    let (one, two) = (Stamp::new(1, 1), Stamp::new(1, 2));
    assert_eq!(publish(&*a, V, None, one, b"1"), Err(CoordinatorError::Frozen(freeze.clone())));
    let back =
        Publication { volume: V, previous: None, stamp: one, record: b"1", during_freeze: DuringFreeze::Allowed };
    a.publish(&back).unwrap();
    assert_eq!(c.unfreeze().unwrap(), Some(freeze));
    assert_eq!(c.unfreeze().unwrap(), None);
    publish(&*a, V, Some(one), two, b"2").unwrap();
}

fn tokens_belong_to_volumes(world: &dyn World) {
    let (a, b) = (world.node("a"), world.node("b"));
    assert_eq!(a.take_token(V, 5, 1), Err(CoordinatorError::NotLead { lead: None }));
    won(a.campaign(V, 0));
    won(b.campaign(W, 0));
    assert_eq!(a.take_token(V, 5, 1).unwrap(), Taken::Yes);
    assert_eq!(a.take_token(V, 6, 1).unwrap(), Taken::Yes, "it has one");
    let Taken::Full(holders) = b.take_token(W, 7, 1).unwrap() else { panic!("more than the limit") };
    assert_eq!(holders.iter().map(|token| (token.volume, token.since)).collect::<Vec<_>>(), [(V, 5)]);
    world.expire("a");
    assert!(matches!(b.take_token(W, 8, 1).unwrap(), Taken::Full(_)), "a dead holder's token is not free");
    assert_eq!(a.return_token(V), Err(CoordinatorError::NotLead { lead: None }));
    won(b.campaign(V, 0));
    b.return_token(V).unwrap();
    b.return_token(V).unwrap();
    assert_eq!(b.take_token(W, 9, 1).unwrap(), Taken::Yes);
    assert!(a.drop_token(W).unwrap(), "an operator's word");
    assert!(!a.drop_token(W).unwrap());
    assert_eq!(a.tokens().unwrap(), []);
}

/// Contenders of [`tokens_never_exceed_the_limit`], and how many of them may have a token.
pub const CONTENDERS: u8 = 4;
const LIMIT: usize = 2;
const ROUNDS: usize = 6;

fn tokens_never_exceed_the_limit(world: &dyn World) {
    let in_hand = AtomicUsize::new(0);
    let in_hand = &in_hand;
    thread::scope(|scope| {
        for index in 0..CONTENDERS {
            scope.spawn(move || contend(world, index, in_hand));
        }
    });
    assert_eq!(world.node("z").tokens().unwrap(), []);
}

/// Says it again until there is an answer.
fn surely<T>(what: &str, act: impl Fn() -> Result<T, CoordinatorError>) -> T {
    for _ in 0..1000 {
        match act() {
            Ok(answer) => return answer,
            Err(error) if error.is_passing() => {}
            Err(error) => panic!("{what}: {error}"),
        }
    }
    panic!("{what}: no answer");
}

fn contend(world: &dyn World, index: u8, in_hand: &AtomicUsize) {
    let (name, volume) = (format!("n{index}"), VolumeId([index + 1; 16]));
    let mut node = world.node(&name);
    lead_at_last(&*node, volume);
    for round in 0..ROUNDS {
        while surely("take", || node.take_token(volume, 1, LIMIT)) != Taken::Yes {
            thread::yield_now();
        }
        assert!(in_hand.fetch_add(1, SeqCst) < LIMIT, "more tokens in hand than there are");
        if round % 3 == usize::from(index) % 3 {
            // It dies with the token in its hand. The next process of it finds the token still taken.
            drop(node);
            world.expire(&name);
            node = world.node(&name);
            lead_at_last(&*node, volume);
            let tokens = surely("look", || node.tokens());
            assert!(tokens.len() <= LIMIT && tokens.iter().any(|token| token.volume == volume), "{tokens:?}");
        }
        in_hand.fetch_sub(1, SeqCst);
        surely("return", || node.return_token(volume));
    }
}

/// Leads, if need be after the lease of this node's last process has run out.
fn lead_at_last(node: &dyn Coordinator, volume: VolumeId) {
    while !matches!(surely("campaign", || node.campaign(volume, 0)), Campaign::Won { .. }) {
        thread::yield_now();
    }
}

fn states_are_shown_while_a_node_lives(world: &dyn World) {
    let (a, b) = (world.node("a"), world.node("b"));
    assert_eq!(b.states(V).unwrap(), []);
    a.report(V, b"a1").unwrap();
    a.report(W, b"other").unwrap();
    b.report(V, b"b1").unwrap();
    a.report(V, b"a2").unwrap();
    let name = |name: &str| name.parse().unwrap();
    assert_eq!(b.states(V).unwrap(), [(name("a"), b"a2".to_vec()), (name("b"), b"b1".to_vec())]);
    world.expire("a");
    assert_eq!(b.states(V).unwrap(), [(name("b"), b"b1".to_vec())]);
    // The first one may find that the lease is gone.
    a.report(V, b"a3").unwrap();
    assert_eq!(b.states(V).unwrap().len(), 2);
}

fn requests_wait_for_the_lead(world: &dyn World) {
    let (a, b) = (world.node("a"), world.node("b"));
    let request = |id, bytes: &[u8]| Request { id, bytes: bytes.to_vec() };
    b.ask(V, &request(u64::MAX, b"last")).unwrap();
    b.ask(V, &request(3, b"rotate")).unwrap();
    b.ask(V, &request(3, b"rotate")).unwrap();
    assert_eq!(b.ask(V, &request(3, b"destroy")), Err(CoordinatorError::Taken { id: 3 }));
    assert_eq!(b.answered(V, 3), Err(CoordinatorError::NotLead { lead: None }));
    won(a.campaign(V, 0));
    assert_eq!(a.asked(V).unwrap(), [request(3, b"rotate"), request(u64::MAX, b"last")]);
    a.answered(V, 3).unwrap();
    a.answered(V, 3).unwrap();
    assert_eq!(b.asked(V).unwrap(), [request(u64::MAX, b"last")]);
    assert_eq!(b.asked(W).unwrap(), []);
}

fn what_is_too_long_is_refused(world: &dyn World) {
    let a = world.node("a");
    let is_refused = |answer: Result<(), CoordinatorError>| matches!(answer, Err(CoordinatorError::TooMuch { .. }));
    a.report(V, &vec![0; STATE_MAX]).unwrap();
    assert!(is_refused(a.report(V, &vec![0; STATE_MAX + 1])));
    a.ask(V, &Request { id: 1, bytes: vec![0; REQUEST_MAX] }).unwrap();
    assert!(is_refused(a.ask(V, &Request { id: 2, bytes: vec![0; REQUEST_MAX + 1] })));
    let long = Freeze { by: "x".repeat(513), reason: String::new(), since: 0 };
    assert!(is_refused(a.freeze(&long).map(|_| ())));
    won(a.campaign(V, 0));
    let record = vec![1; keymoult::cluster::coordinator::PUBLISHED_MAX + 1];
    publish(&*a, V, None, Stamp::new(1, 1), &record[1..]).unwrap();
    assert!(is_refused(publish(&*a, V, Some(Stamp::new(1, 1)), Stamp::new(1, 2), &record)));
    assert_eq!(a.fetch(V).unwrap().unwrap().record.len(), record.len() - 1);
}

fn a_rewound_history_is_noticed(world: &dyn World) {
    let a = world.node("a");
    won(a.campaign(V, 0));
    let (one, two) = (Stamp::new(1, 1), Stamp::new(6, 2));
    publish(&*a, V, None, one, b"1").unwrap();
    world.rewind(&mut || {
        assert_eq!(won(a.campaign(V, 5)), 6);
        publish(&*a, V, Some(one), two, b"2").unwrap();
    });
    assert!(is_backwards(&a.fetch(V)), "{:?}", a.fetch(V));
    assert!(is_backwards(&a.campaign(V, 6)));
    assert!(is_backwards(&publish(&*a, V, Some(two), Stamp::new(6, 3), b"3")));
    drop(a);
    let a = world.node("a");
    assert!(is_backwards(&a.campaign(V, 6)), "it is kept");
    // A node that has never seen more finds nothing wrong with it.
    assert_eq!(world.node("b").fetch(V).unwrap().unwrap().stamp, one);
    assert_eq!(world.node("b").accept_history(V), Ok(None), "it has seen no more");
    assert!(matches!(a.accept_history(V), Ok(Some(_))));
    assert_eq!(a.fetch(V).unwrap().unwrap().stamp, one);
    world.expire("a");
    assert_eq!(won(a.campaign(V, 6)), 7);
    publish(&*a, V, Some(two), Stamp::new(7, 3), b"3").unwrap();
    assert_eq!(world.node("b").fetch(V).unwrap().unwrap().stamp, Stamp::new(7, 3));
}

fn a_wiped_one_is_noticed(world: &dyn World) {
    let a = world.node("a");
    won(a.campaign(V, 0));
    let one = Stamp::new(1, 1);
    publish(&*a, V, None, one, b"1").unwrap();
    world.wipe();
    assert!(is_backwards(&a.fetch(V)), "{:?}", a.fetch(V));
    assert!(is_backwards(&a.campaign(V, 0)));
    assert!(matches!(a.accept_history(V), Ok(Some(_))));
    assert_eq!(won(a.campaign(V, 0)), 2);
    publish(&*a, V, Some(one), Stamp::new(2, 2), b"2").unwrap();
    assert_eq!(a.fetch(V).unwrap().unwrap().stamp, Stamp::new(2, 2));
    assert_eq!(a.accept_history(V), Ok(None), "it is mended");
}
