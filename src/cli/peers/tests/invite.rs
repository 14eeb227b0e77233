//! An invite opens for the nodes it names, if a configured member has made it, and for nobody else; no changed byte passes.

use super::*;
use crate::cli::config::PeersPlan;
use crate::cli::config::peers::MemberPlan;
use crate::cli::peers::sample;
use crate::cluster::link::LinkFiles;
use crate::cluster::record::Role;
use crate::format::generations::KeyState;
use crate::format::handover::{Handover, SharedKey};
use crate::units::Generation;

fn founding() -> Founding {
    let handover = Handover {
        generation: Generation(1),
        key_id: [1; 16],
        suite: 1,
        data_unit: 4096,
        tweak_unit: 4096,
        tweak_base: 0,
        created: 1,
        reason: "created".into(),
        check: [3; 16],
        key: Secret::filled(64, |bytes| bytes.iter_mut().enumerate().for_each(|(at, byte)| *byte = at as u8)),
    };
    let key = SharedKey { handover, state: KeyState::Active, compromised: false, activated: 1, scheduled: 0, bytes: 0 };
    Founding {
        volume: sample::VOLUME,
        size: 1 << 20,
        max_size: 1 << 20,
        extent_size: 64 << 10,
        data_unit: 4096,
        keys: vec![key],
    }
}

fn plan(me: &NodeKeys, others: &[&NodeKeys]) -> PeersPlan {
    let member = |keys: &NodeKeys| MemberPlan {
        name: keys.name().clone(),
        address: "127.0.0.1:1".into(),
        role: Role::Full,
        public: keys.public(),
    };
    let files = LinkFiles { certificate: "c".into(), key: "k".into(), authority: "a".into(), revoked: None };
    PeersPlan {
        cluster: "lab".into(),
        node: me.name().clone(),
        lead: me.name().clone(),
        listen: "127.0.0.1:1".parse().unwrap(),
        files,
        identity: "id".into(),
        members: std::iter::once(me).chain(others.iter().copied()).map(member).collect(),
        witnessed: Vec::new(),
    }
}

#[test]
fn an_invite_opens_for_the_nodes_it_names_and_for_nobody_else() {
    let (a, b, c) = (sample::keys("a"), sample::keys("b"), sample::keys("c"));
    let bytes = seal("lab", &a, &founding(), &[b.public()]).unwrap();
    let read = opened(&plan(&b, &[&a, &c]), &b, &bytes).ok().unwrap();
    assert_eq!((read.volume, read.size, read.keys.len()), (sample::VOLUME, 1 << 20, 1));
    let why = |plan: &PeersPlan, keys: &NodeKeys| opened(plan, keys, &bytes).err().unwrap().human();
    assert!(why(&plan(&c, &[&a, &b]), &c).contains("for b, not for c"));
    assert!(why(&plan(&b, &[&c]), &b).contains("no member"));
    let elsewhere = PeersPlan { cluster: "prod".into(), ..plan(&b, &[&a]) };
    assert!(why(&elsewhere, &b).contains("cluster lab"));
    // Another node under the maker's name.
    let impostor = sample::keys("a");
    assert!(why(&plan(&b, &[&impostor]), &b).contains("not signed by a"));
    let fresh = sample::keys("b");
    assert!(why(&plan(&fresh, &[&a]), &fresh).contains("new keys"));
}

#[test]
fn no_changed_or_missing_byte_passes() {
    let (a, b) = (sample::keys("a"), sample::keys("b"));
    let plan = plan(&b, &[&a]);
    let bytes = seal("lab", &a, &founding(), &[b.public()]).unwrap();
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        assert!(opened(&plan, &b, &changed).is_err(), "byte {at}");
        assert!(opened(&plan, &b, &bytes[..at]).is_err(), "{at} bytes");
    }
}
