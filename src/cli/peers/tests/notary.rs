//! A sealed key opens for one node in one context; a signature is one node's, of one text.

use super::*;
use crate::cli::peers::sample;
use crate::cluster::node::Notary;

#[test]
fn a_signature_is_of_one_node_and_one_text() {
    let (a, b) = (sample::keys("a"), sample::keys("b"));
    let notary = NodeNotary::new(std::sync::Arc::clone(&a));
    let signature = notary.sign(b"record");
    assert!(notary.is_by(&a.public().sign, b"record", &signature));
    assert!(!notary.is_by(&b.public().sign, b"record", &signature));
    assert!(!notary.is_by(&a.public().sign, b"recorded", &signature));
}

#[test]
fn a_sealed_key_opens_with_the_very_same_names_only() {
    let (a, b) = (sample::keys("a"), sample::keys("b"));
    let record = sample::genesis(&[&a, &b]);
    let (key, to) = (&record.keys[0], b.name().clone());
    let plain = Secret::filled(32, |bytes| bytes.fill(5));
    let sealed = Context::of(&record, key, &to).seal(&b.public().seal, &plain).unwrap();
    let open = |record: &Keyring, key: &Key, to: &NodeName| {
        NodeNotary::new(std::sync::Arc::clone(&b)).open(&Context::of(record, key, to), &sealed)
    };
    assert!(open(&record, key, &to).unwrap().ct_eq(&plain));
    assert!(NodeNotary::new(std::sync::Arc::clone(&a)).open(&Context::of(&record, key, &to), &sealed).is_err());
    let other_cluster = Keyring { cluster: "lab2".into(), ..record.clone() };
    let other_volume = Keyring { volume: VolumeId([8; 16]), ..record.clone() };
    let other_lead = Keyring { lead: to.clone(), ..record.clone() };
    for other in [&other_cluster, &other_volume, &other_lead] {
        assert!(open(other, key, &to).is_err());
    }
    let keys = [
        Key { generation: crate::units::Generation(2), ..key.clone() },
        Key { key_id: [2; 16], ..key.clone() },
        Key { suite: 2, ..key.clone() },
        Key { check: [4; 16], ..key.clone() },
    ];
    for other in &keys {
        assert!(open(&record, other, &to).is_err());
    }
    assert!(open(&record, key, a.name()).is_err());
}
