//! What a member refuses on its own: records that break a rule, first records that are not to be believed, files that were changed.

use super::rig::Seal;
use super::sample;
use super::world::{name, wanted};
use crate::cluster::durable::Durable;
use crate::cluster::founding::Founding;
use crate::cluster::message::Refusal;
use crate::cluster::record::{Keyring, Role, Signed, Step};
use crate::cluster::rules::{Quorum, descends, may_follow, quorum, reachable, sound};
use crate::cluster::stamp::Stamp;
use crate::cluster::steps::{self, Made};
use crate::format::generations::KeyState;
use crate::units::Generation;

use super::world::by;

fn founded() -> Keyring {
    sample::founding_of(&[("a", Role::Full), ("b", Role::Full), ("w", Role::Witness)])
}

fn made() -> Made {
    Made { generation: Generation(2), key_id: [2; 16], check: [2; 16], wraps: Vec::new() }
}

/// The next record of the same lead.
fn after(record: &Keyring) -> Keyring {
    let mut next = record.clone();
    next.stamp.revision += 1;
    next.ancestors = vec![sample::ancestor(record.stamp.epoch, record.stamp.revision, record.hash())];
    next
}

fn prepared() -> Keyring {
    after(&steps::prepared(&founded(), &wanted(), made(), &by(), 1000).unwrap())
}

fn finalized() -> Keyring {
    steps::finalized(&after(&steps::activated(&prepared(), 1000)), 1000)
}

#[test]
fn which_state_leads_to_which() {
    use KeyState::{Active, Destroyed, Disabled, Draining, Empty, Prepared, Revoked, Scheduled};
    for (from, never) in [
        (Prepared, &[][..]),
        (Active, &[Prepared]),
        (Draining, &[Prepared]),
        (Empty, &[Prepared]),
        (Disabled, &[Prepared]),
        (Scheduled, &[Prepared]),
        (Revoked, &[Prepared]),
        (Destroyed, &[Prepared, Active, Draining, Empty, Disabled, Scheduled, Revoked]),
    ] {
        for number in 1..=8 {
            let to = KeyState::from_u8(number).unwrap();
            assert_eq!(reachable(from, to), to == from || !never.contains(&to), "{from:?} to {to:?}");
        }
    }
}

#[test]
fn a_change_asks_for_all_and_the_way_back_for_a_majority() {
    let (first, prepared) = (founded(), prepared());
    let active = after(&steps::activated(&prepared, 1000));
    assert_eq!(quorum(&first, &prepared), Quorum::All);
    assert_eq!(quorum(&prepared, &active), Quorum::All);
    assert_eq!(quorum(&active, &steps::finalized(&active, 1000)), Quorum::All);
    assert_eq!(quorum(&prepared, &steps::abandoned(&prepared, 1000)), Quorum::Majority);
    let back = steps::next(&active, &crate::cluster::node::Command::RollBack, 1000).unwrap();
    assert_eq!(quorum(&active, &back), Quorum::Majority);
}

#[test]
fn what_may_not_follow() {
    let old = after(&finalized());
    let refused = |change: &dyn Fn(&mut Keyring), why: &str| {
        let mut new = after(&old);
        change(&mut new);
        let found = may_follow(&old, &new).unwrap_err();
        assert!(found.contains(why), "{found}");
    };
    assert_eq!(may_follow(&old, &after(&old)), Ok(()));
    refused(&|new| new.stamp = old.stamp, "not above");
    refused(&|new| new.stamp.epoch = 0, "not above");
    refused(&|new| new.lead = name("b"), "epoch 1 is led by a");
    refused(&|new| new.volume.0[0] = 9, "another cluster or volume");
    refused(&|new| new.members.truncate(2), "a member is missing");
    refused(&|new| new.members[1].seal = [9; 32], "has other keys");
    refused(&|new| new.lead = name("w"), "no member with a replica");
    refused(&|new| new.keys[0].key_id = [9; 16], "generation 1 is another key");
    refused(&|new| new.keys[0].suite = 9, "another suite");
    refused(&|new| new.keys[0].check = [9; 16], "another check value");
    refused(&|new| drop(new.keys.remove(0)), "generation 1 is missing");
    refused(&|new| new.keys[0].state = KeyState::Active, "2 generations are active");
    refused(&|new| new.keys[1].state = KeyState::Empty, "0 generations are active");
    refused(&|new| new.change.step = Step::Active, "the change cannot go from Finalized to Active");
    refused(&|new| new.change.id = 0, "change 0 comes after change 1");
    refused(&|new| new.expelled = vec![name("b")], "a member and expelled at once");
    let mut gone = old.clone();
    gone.keys[0].state = KeyState::Destroyed;
    gone.keys[0].wraps.clear();
    let mut back = after(&gone);
    back.keys[0].state = KeyState::Disabled;
    assert!(may_follow(&gone, &back).unwrap_err().contains("no steps lead generation 1 from destroyed"));
    gone.expelled = vec![name("x")];
    assert!(may_follow(&gone, &after(&old)).unwrap_err().contains("expelled"));
}

#[test]
fn a_record_is_whole_in_itself() {
    assert_eq!(sound(&prepared()), Ok(()));
    let wrong = |change: &dyn Fn(&mut Keyring), why: &str| {
        let mut record = prepared();
        change(&mut record);
        let found = sound(&record).unwrap_err();
        assert!(found.contains(why), "{found}");
    };
    wrong(&|record| record.change.step = Step::Idle, "prepared that the change does not name");
    wrong(&|record| record.change.from = Generation(7), "do not stand as the step");
    wrong(&|record| record.keys[1].state = KeyState::Destroyed, "do not stand as the step");
    let mut destroyed = finalized();
    destroyed.keys[0].state = KeyState::Destroyed;
    assert!(sound(&destroyed).unwrap_err().contains("has wraps"));
}

#[test]
fn a_fork_shows_as_far_as_the_history_reaches() {
    let (first, second) = (founded(), after(&founded()));
    assert!(descends(&second, first.stamp, &first.hash()));
    assert!(!descends(&second, first.stamp, &[9; 32]));
    assert!(!descends(&second, Stamp::new(1, 7), &first.hash()));
    let far = Keyring { stamp: Stamp::new(1, 40), ancestors: vec![sample::ancestor(1, 39, [3; 32])], ..first.clone() };
    assert!(descends(&far, first.stamp, &first.hash()));
}

fn founding(me: &str) -> Founding {
    Founding {
        cluster: "test".into(),
        volume: sample::VOLUME,
        me: name(me),
        lead: name("a"),
        lead_sign: [b'a'; 32],
        keys: vec![(Generation(1), [1; 16])],
    }
}

#[test]
fn a_first_record_is_checked() {
    let lead = Seal(b'a');
    let genesis = Durable::found(founded(), &lead).unwrap();
    let first = |founding: &Founding, from: &str, signed: &Signed| {
        Durable::first(founding, &name(from), signed, &Seal(founding.me.as_str().as_bytes()[0]))
    };
    assert_eq!(first(&founding("b"), "a", &genesis.accepted).as_ref(), Ok(&genesis));
    let refused = |found: Result<Durable, Refusal>, why: &str| {
        let found = found.unwrap_err().to_string();
        assert!(found.contains(why), "{found}");
    };
    refused(first(&founding("b"), "w", &genesis.accepted), "has to come from a");
    let forged = Signed { signature: [0; 64], ..genesis.accepted.clone() };
    refused(first(&founding("b"), "a", &forged), "has to come from a");
    let other_lead = Founding { lead_sign: [b'x'; 32], ..founding("b") };
    refused(first(&other_lead, "a", &genesis.accepted), "has to come from a");
    refused(first(&founding("x"), "a", &genesis.accepted), "x is no member");
    let other_cluster = Founding { cluster: "other".into(), ..founding("b") };
    refused(first(&other_cluster, "a", &genesis.accepted), "another cluster");
    let without = Founding { keys: Vec::new(), ..founding("b") };
    refused(first(&without, "a", &genesis.accepted), "does not hold generation 1");
    let more = Founding { keys: vec![(Generation(1), [1; 16]), (Generation(2), [2; 16])], ..founding("b") };
    refused(first(&more, "a", &genesis.accepted), "holds generation 2");
    assert!(first(&Founding { keys: Vec::new(), ..founding("w") }, "a", &genesis.accepted).is_ok());
}

#[test]
fn a_changed_file_is_noticed() {
    let durable = Durable::found(founded(), &Seal(b'a')).unwrap();
    assert_eq!(durable.authentic(&Seal(b'b')), Ok(()));
    let mut changed = durable.clone();
    changed.accepted.record.keys[0].compromised = true;
    assert!(changed.authentic(&Seal(b'b')).unwrap_err().contains("the file was changed"));
    let mut early = founded();
    early.stamp.epoch = 2;
    assert!(Durable::found(early, &Seal(b'a')).is_err());
}
