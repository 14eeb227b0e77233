//! Escrow bundles: who opens them, who does not, and what no change survives.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;

use super::{PURPOSE, data_key};
use crate::crypto::Secret;
use crate::crypto::age::Identity;
use crate::format::bundle::Bundle;
use crate::keys::escrow::{self, Contents, EscrowError, EscrowKey};
use crate::keys::{Kek, KekProvider, WrapPurpose};
use crate::units::Generation;

fn keys() -> Vec<EscrowKey> {
    let metadata = WrapPurpose { generation: Generation::METADATA, suite: 0, ..PURPOSE };
    vec![
        EscrowKey { purpose: metadata, key: Secret::random(32).unwrap() },
        EscrowKey { purpose: PURPOSE, key: data_key() },
    ]
}

fn sealed(keys: &[EscrowKey], people: &[Identity], threshold: usize) -> Bundle {
    let recipients: Vec<_> = people.iter().map(|one| one.recipient().unwrap()).collect();
    let contents = Contents { volume: PURPOSE.volume, holder: [3; 16], made: 5, backup: vec![1, 2, 3] };
    let bundle = escrow::seal(contents, keys, &recipients, threshold).unwrap();
    Bundle::decode(&bundle.encode()).unwrap()
}

fn people(count: usize) -> Vec<Identity> {
    (0..count).map(|_| Identity::new().unwrap()).collect()
}

fn same(found: &[EscrowKey], wanted: &[EscrowKey]) -> bool {
    found.len() == wanted.len() && found.iter().zip(wanted).all(|(a, b)| a.purpose == b.purpose && a.key.ct_eq(&b.key))
}

/// Every choice of people, for every threshold of up to four.
#[test]
fn enough_people_open_it_and_fewer_do_not() {
    let keys = keys();
    for threshold in 1..=4 {
        let people = people(4);
        let bundle = sealed(&keys, &people, threshold);
        for chosen in 0..1u32 << 4 {
            let there = |index: &usize| chosen >> index & 1 == 1;
            let (some, count) = ((0..4).filter(there), chosen.count_ones() as usize);
            let some: Vec<Identity> = some.map(|index| copy(&people[index])).collect();
            match escrow::open(&bundle, &some) {
                Ok(found) => assert!(count >= threshold && same(&found, &keys)),
                Err(EscrowError::TooFew { have, need }) => {
                    assert!(have == count && need == threshold && have < need);
                }
                Err(error) => panic!("{error}"),
            }
        }
    }
}

/// An identity as the file of it would give it again.
fn copy(one: &Identity) -> Identity {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("identity");
    std::fs::File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)
        .unwrap()
        .write_all(format!("# created: today\n# public key: x\n{}\n", one.text()).as_bytes())
        .unwrap();
    escrow::identities(&path).unwrap().remove(0)
}

#[test]
fn nothing_in_it_can_be_changed() {
    let people = people(1);
    let bytes = sealed(&keys(), &people, 1).encode();
    for at in (0..bytes.len()).step_by(5) {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        assert!(Bundle::decode(&changed).is_err(), "byte {at}");
        // With a right CRC, which anybody can make.
        let end = changed.len() - 4;
        let crc = crc32fast::hash(&changed[..end]);
        changed[end..].copy_from_slice(&crc.to_le_bytes());
        if let Ok(bundle) = Bundle::decode(&changed) {
            assert!(at >= end || escrow::open(&bundle, &people).is_err(), "byte {at}");
        }
    }
    for len in (0..bytes.len()).step_by(13) {
        assert!(Bundle::decode(&bytes[..len]).is_err());
    }
}

#[test]
fn passphrases_and_repeated_recipients_are_refused_and_never_shown() {
    let refused = |texts: &[&str]| {
        let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
        escrow::recipients(&texts).err().unwrap().to_string()
    };
    assert_eq!(refused(&["correct horse battery"]), "\"(not shown)\" is no recipient");
    assert!(refused(&["age1qqqq"]).contains("age1qqqq"));
    let one = people(1)[0].recipient().unwrap().to_string();
    assert!(refused(&[&one, &one]).contains("twice"));
    assert!(escrow::check_threshold(2, 3).is_err() && escrow::check_threshold(0, 0).is_err());
}

#[test]
fn the_keeper_gives_each_key_for_its_own_purpose_only() {
    let keys = keys();
    let wanted = Secret::filled(64, |bytes| bytes.copy_from_slice(keys[1].key.expose()));
    let keeper = escrow::EscrowKeeper::new(keys, "escrow bundle x".into());
    assert_eq!(keeper.describe().label, "escrow bundle x");
    let kek = Kek::unwitnessed(keeper);
    let wrap = crate::format::wrapped::Wrapped { provider: 4, kek_id: "gone".into(), kek_version: 7, blob: vec![1] };
    assert!(kek.could_open(&wrap));
    assert!(kek.unwrap(&PURPOSE, &wrap).unwrap().ct_eq(&wanted));
    assert!(kek.unwrap(&WrapPurpose { key_id: [1; 16], ..PURPOSE }, &wrap).is_err());
    assert!(kek.wrap(&PURPOSE, &wanted).is_err());
}
