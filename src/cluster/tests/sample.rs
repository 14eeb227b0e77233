//! Records to begin with.

use std::collections::BTreeSet;

use crate::cluster::durable::Durable;
use crate::cluster::record::{Ancestor, Change, Hash, Key, Keyring, Member, NodeWrap, Promise, Role, Signed};
use crate::cluster::stamp::Stamp;
use crate::format::generations::KeyState;
use crate::format::wrapped::Wrapped;
use crate::units::{Generation, VolumeId};

pub const VOLUME: VolumeId = VolumeId([1; 16]);

/// The signing key of the member at this place: what [`super::notary`] takes for its name.
pub fn member(name: &str, role: Role) -> Member {
    let byte = name.as_bytes()[0];
    Member { name: name.parse().unwrap(), role, sign: [byte; 32], seal: [byte; 32] }
}

/// The first record of a volume of these members, the first of which leads.
pub fn founding_of(members: &[(&str, Role)]) -> Keyring {
    let wrapped = Wrapped { provider: 1, kek_id: "kek".into(), kek_version: 1, blob: vec![1, 2, 3] };
    let key = Key {
        generation: Generation::FIRST,
        key_id: [1; 16],
        suite: 1,
        state: KeyState::Active,
        compromised: false,
        created: 100,
        activated: 100,
        scheduled: 0,
        check: [1; 16],
        reason: "created".into(),
        wraps: vec![NodeWrap { node: members[0].0.parse().unwrap(), wrapped }],
    };
    Keyring {
        cluster: "test".into(),
        volume: VOLUME,
        stamp: Stamp::new(1, 1),
        lead: members[0].0.parse().unwrap(),
        ancestors: Vec::new(),
        members: members.iter().map(|(name, role)| member(name, *role)).collect(),
        expelled: Vec::new(),
        mandate: Vec::new(),
        keys: vec![key],
        change: Change::none(Generation::FIRST, 100, "uid 0", "founded"),
    }
}

pub fn founding() -> Keyring {
    founding_of(&[("a", Role::Full), ("w", Role::Witness)])
}

pub fn ancestor(epoch: u64, revision: u64, hash: Hash) -> Ancestor {
    Ancestor { stamp: Stamp::new(epoch, revision), hash }
}

pub fn promise(by: &str) -> Promise {
    Promise {
        epoch: 2,
        candidate: "b".parse().unwrap(),
        by: by.parse().unwrap(),
        stamp: Stamp::new(1, 4),
        hash: [4; 32],
        highest: Generation(3),
        signature: [5; 64],
    }
}

pub fn durable() -> Durable {
    let accepted = Signed { record: founding(), signature: [7; 64] };
    Durable {
        promised: 1,
        committed: accepted.clone(),
        accepted,
        closed: BTreeSet::from([Generation(2), Generation(4)]),
        highest: Generation(5),
        held: true,
        out: Some("expelled".into()),
    }
}
