//! The contract of coordinators, on the twin in memory; `tests/etcd` runs it on etcd.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

mod contract;

use contract::{CASES, LOSSES, World};
use keymoult::cluster::coordinator::memory::MemoryStore;
use keymoult::cluster::coordinator::{Campaign, Coordinator, CoordinatorError, Standing};
use keymoult::units::VolumeId;

impl World for MemoryStore {
    fn node(&self, name: &str) -> Box<dyn Coordinator> {
        let name = name.parse().unwrap();
        self.restart(&name);
        Box::new(MemoryStore::node(self, name))
    }

    fn expire(&self, name: &str) {
        MemoryStore::expire(self, &name.parse().unwrap());
    }

    fn rewind(&self, between: &mut dyn FnMut()) {
        let snapshot = self.snapshot();
        between();
        self.restore(&snapshot);
    }

    fn wipe(&self) {
        MemoryStore::wipe(self);
    }
}

#[test]
fn the_twin_keeps_the_contract() {
    for (name, case) in CASES.iter().chain(LOSSES) {
        println!("case {name}");
        case(&MemoryStore::new());
    }
}

#[test]
fn a_cut_and_a_lost_quorum_are_told_apart() {
    let (store, volume) = (MemoryStore::new(), VolumeId([1; 16]));
    let a = "a".parse().unwrap();
    let node = MemoryStore::node(&store, "a".parse().unwrap());
    store.cut(&a);
    assert!(matches!(node.campaign(volume, 0), Err(CoordinatorError::Unreachable(_))));
    store.heal(&a);
    store.set_quorum(false);
    assert!(matches!(node.campaign(volume, 0), Err(CoordinatorError::NoQuorum(_))));
    store.set_quorum(true);
    assert_eq!(node.campaign(volume, 0), Ok(Campaign::Won { epoch: 1 }));
    store.expire(&a);
    assert_eq!(node.standing(volume), Standing::Doubtful { epoch: 1 });
}
