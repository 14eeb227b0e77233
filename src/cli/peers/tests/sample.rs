//! A record and keys to test with.

use std::sync::Arc;

use crate::cli::peers::notary::NodeNotary;
use crate::cluster::durable::Durable;
use crate::cluster::identity::NodeKeys;
use crate::cluster::record::{Change, Key, Keyring, Member, Role};
use crate::cluster::stamp::Stamp;
use crate::format::generations::KeyState;
use crate::units::{Generation, VolumeId};

/// The volume.
pub const VOLUME: VolumeId = VolumeId([7; 16]);

/// Fresh keys of a node.
pub fn keys(name: &str) -> Arc<NodeKeys> {
    Arc::new(NodeKeys::new(name.parse().unwrap()).unwrap())
}

/// The first record of a volume of two nodes, the first of which leads.
pub fn genesis(nodes: &[&NodeKeys]) -> Keyring {
    let key = Key {
        generation: Generation(1),
        key_id: [1; 16],
        suite: 1,
        state: KeyState::Active,
        compromised: false,
        created: 1,
        activated: 1,
        scheduled: 0,
        check: [3; 16],
        reason: "created".into(),
        wraps: Vec::new(),
    };
    let member = |keys: &&NodeKeys| {
        let public = keys.public();
        Member { name: public.name, role: Role::Full, sign: public.sign, seal: public.seal }
    };
    Keyring {
        cluster: "lab".into(),
        volume: VOLUME,
        stamp: Stamp::new(1, 1),
        lead: nodes[0].name().clone(),
        ancestors: Vec::new(),
        members: nodes.iter().map(member).collect(),
        expelled: Vec::new(),
        mandate: Vec::new(),
        keys: vec![key],
        change: Change::none(Generation(1), 1, "test", "founded"),
    }
}

/// What the lead of such a record makes durable.
pub fn durable() -> Durable {
    let (a, b) = (keys("a"), keys("b"));
    Durable::found(genesis(&[&a, &b]), &NodeNotary::new(a)).unwrap()
}
