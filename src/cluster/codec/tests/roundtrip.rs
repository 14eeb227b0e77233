//! Round trips over records, promises, files and messages made at random, every truncation, every flipped bit.

use std::collections::BTreeSet;

use proptest::prelude::*;

use crate::cluster::durable::Durable;
use crate::cluster::message::{Body, Message, Refusal};
use crate::cluster::progress::Progress;
use crate::cluster::record::{Hash, Keyring, OnDeadline, Promise, RECORD_MAX, Role, Signed, Step};
use crate::cluster::stamp::Stamp;
use crate::cluster::tests::sample;
use crate::format::Damage;
use crate::format::generations::{KeyState, Pace, Phase, VerifyMode};
use crate::format::wrapped::Wrapped;
use crate::units::{Generation, VolumeId};

fn text() -> impl Strategy<Value = String> {
    "[ -~äß]{0,20}"
}

fn stamp() -> impl Strategy<Value = Stamp> {
    (0..=1u64 << 62, 0..=1u64 << 62).prop_map(|(epoch, revision)| Stamp::new(epoch, revision))
}

fn hash() -> impl Strategy<Value = Hash> {
    any::<[u8; 32]>()
}

fn wrap() -> impl Strategy<Value = Wrapped> {
    (any::<u8>(), text(), any::<u32>(), prop::collection::vec(any::<u8>(), 0..40))
        .prop_map(|(provider, kek_id, kek_version, blob)| Wrapped { provider, kek_id, kek_version, blob })
}

fn state() -> impl Strategy<Value = KeyState> {
    (1u8..=8).prop_map(|number| KeyState::from_u8(number).unwrap())
}

fn verify() -> impl Strategy<Value = VerifyMode> {
    (0u32..=1_000_000).prop_map(|number| VerifyMode::from_number(number).unwrap())
}

/// A record like the sample, with what may vary varied.
fn record() -> impl Strategy<Value = Keyring> {
    let numbers = (any::<[u64; 4]>(), any::<[u32; 2]>(), any::<[bool; 5]>(), 0u8..5, any::<bool>());
    let more = (text(), text(), verify(), any::<u16>(), any::<bool>());
    let keys = prop::collection::vec((state(), any::<bool>(), any::<[u8; 16]>(), any::<u16>(), wrap()), 1..4);
    (stamp(), hash(), numbers, more, keys).prop_map(|(stamp, hash, numbers, more, keys)| {
        let (numbers, generations, flags, step, undo) = numbers;
        let (actor, reason, verify, factor_percent, witness) = more;
        let mut record = sample::founding();
        record.stamp = Stamp::new(stamp.epoch, stamp.revision.max(5));
        record.ancestors = vec![sample::ancestor(stamp.epoch, 4, hash), sample::ancestor(stamp.epoch, 2, hash)];
        record.mandate = vec![sample::promise("a"), sample::promise("b")];
        record.expelled = vec!["x".parse().unwrap(), "y".parse().unwrap()];
        if witness {
            record.members[0].role = Role::Witness;
        }
        let like = record.keys[0].clone();
        record.keys = (1..)
            .zip(keys)
            .map(|(number, (state, compromised, key_id, suite, wrapped))| {
                let mut key = like.clone();
                (key.generation, key.state, key.compromised) = (Generation(number), state, compromised);
                (key.key_id, key.suite, key.scheduled) = (key_id, suite, numbers[0]);
                key.wraps[0].wrapped = wrapped;
                key
            })
            .collect();
        let change = &mut record.change;
        (change.id, change.since, change.deadline_s) = (numbers[0] >> 2, numbers[1], numbers[2]);
        (change.target, change.from) = (Generation(generations[0]), Generation(generations[1]));
        change.step = [Step::Idle, Step::Prepared, Step::Active, Step::RolledBack, Step::Finalized][usize::from(step)];
        [change.paused, change.hold_finalize, change.one_at_a_time, change.cold_proof] =
            [flags[0], flags[1], flags[2], flags[3]];
        change.pace = Pace { rate: numbers[3], adaptive: flags[4], factor_percent };
        change.on_deadline = if undo { OnDeadline::Undo } else { OnDeadline::Alarm };
        (change.verify, change.actor, change.reason) = (verify, actor, reason);
        record
    })
}

fn signed() -> impl Strategy<Value = Signed> {
    (record(), any::<u8>()).prop_map(|(record, byte)| Signed { record, signature: [byte; 64] })
}

fn progress() -> impl Strategy<Value = Progress> {
    let census = prop::collection::btree_map(1u32..99, any::<u64>(), 0..4);
    (
        any::<[u64; 5]>(),
        stamp(),
        prop::option::of(text()),
        0u8..6,
        any::<bool>(),
        census,
        prop::option::of(any::<u64>()),
    )
        .prop_map(|(numbers, converged, hindrance, phase, held, census, eta_s)| Progress {
            sequence: numbers[0],
            at: numbers[1],
            converged,
            hindrance,
            target: Generation(7),
            phase: Phase::from_u8(phase).unwrap(),
            held,
            census: census.into_iter().map(|(generation, count)| (Generation(generation), count)).collect(),
            verified: numbers[2],
            rate: numbers[3],
            eta_s,
            last_verified: numbers[4],
        })
}

fn refusal() -> impl Strategy<Value = Refusal> {
    prop_oneof![
        (0..=1u64 << 62).prop_map(|promised| Refusal::Epoch { promised }),
        stamp().prop_map(|have| Refusal::Older { have }),
        stamp().prop_map(|have| Refusal::Fork { have }),
        text().prop_map(Refusal::NotEntitled),
        text().prop_map(Refusal::Rule),
        text().prop_map(Refusal::Upgrade),
        text().prop_map(Refusal::Failed),
        text().prop_map(Refusal::Out),
    ]
}

fn body() -> impl Strategy<Value = Body> {
    let generation = (1u32..u32::MAX).prop_map(Generation);
    let key_id = any::<[u8; 16]>();
    prop_oneof![
        (signed(), prop::option::of(prop::collection::vec(any::<u8>(), 0..50)))
            .prop_map(|(record, handover)| Body::Put { record, handover }),
        (stamp(), hash(), prop::collection::vec(wrap(), 0..3)).prop_map(|(stamp, hash, wraps)| Body::Ack {
            stamp,
            hash,
            wraps
        }),
        (stamp(), refusal()).prop_map(|(stamp, why)| Body::Refused { stamp, why }),
        (stamp(), hash(), prop::option::of("[a-z]{1,9}")).prop_map(|(committed, hash, turn)| Body::Beat {
            committed,
            hash,
            turn: turn.map(|name| name.parse().unwrap())
        }),
        stamp().prop_map(|have| Body::Behind { have }),
        (stamp(), generation.clone(), key_id, any::<bool>())
            .prop_map(|(stamp, generation, key_id, cold)| Body::Prove { stamp, generation, key_id, cold }),
        (stamp(), generation.clone(), key_id, any::<[u8; 16]>(), any::<bool>()).prop_map(
            |(stamp, generation, key_id, check, cold)| Body::Proven { stamp, generation, key_id, check, cold }
        ),
        (stamp(), generation.clone()).prop_map(|(stamp, generation)| Body::Report { stamp, generation }),
        (stamp(), generation, prop::option::of(text()), prop::collection::vec(text(), 0..3))
            .prop_map(|(stamp, generation, references, pins)| Body::Reported { stamp, generation, references, pins }),
        (0..=1u64 << 62).prop_map(|epoch| Body::Elect { epoch }),
        signed().prop_map(|record| Body::Promised { promise: sample::promise("b"), record }),
        progress().prop_map(Body::Progress),
        prop::collection::vec(any::<u8>(), 0..50).prop_map(Body::Check),
    ]
}

fn durable() -> impl Strategy<Value = Durable> {
    (signed(), prop::collection::btree_set(1u32..50, 0..4), any::<bool>(), prop::option::of(text()), any::<u32>())
        .prop_map(|(accepted, closed, held, out, highest)| Durable {
            promised: accepted.record.stamp.epoch,
            committed: accepted.clone(),
            accepted,
            closed: closed.into_iter().map(Generation).collect::<BTreeSet<_>>(),
            highest: Generation(highest),
            held,
            out,
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn records(signed in signed()) {
        let bytes = signed.encode();
        prop_assert_eq!(Signed::decode(&bytes), Ok(signed.clone()));
        prop_assert_eq!(Keyring::decode(&signed.record.encode()), Ok(signed.record));
    }

    #[test]
    fn promises(byte in any::<u8>()) {
        let mut promise = sample::promise("a");
        promise.signature = [byte; 64];
        prop_assert_eq!(Promise::decode(&promise.encode()), Ok(promise));
    }

    #[test]
    fn files(durable in durable()) {
        prop_assert_eq!(Durable::decode(&durable.encode()), Ok(durable));
    }

    #[test]
    fn messages(body in body()) {
        let message = Message { volume: VolumeId([9; 16]), body };
        prop_assert_eq!(Message::decode(&message.encode()), Ok(message));
    }

    #[test]
    fn what_progress_says(progress in progress()) {
        prop_assert_eq!(Progress::decode(&progress.encode()), Ok(progress));
    }

    /// What is accepted after a change of one byte is written again as these very bytes.
    #[test]
    fn one_content_has_one_encoding(body in body(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = Message { volume: VolumeId([9; 16]), body }.encode();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(message) = Message::decode(&bytes) {
            prop_assert_eq!(message.encode(), bytes);
        }
    }
}

#[test]
fn every_truncation_and_every_appendix_is_refused() {
    let durable = sample::durable();
    let message = Message {
        volume: VolumeId([1; 16]),
        body: Body::Put { record: durable.accepted.clone(), handover: Some(vec![1, 2, 3]) },
    };
    let (file, message) = (durable.encode(), message.encode());
    let (record, promise) = (durable.accepted.record.encode(), sample::promise("a").encode());
    for end in 0..file.len() {
        assert!(Durable::decode(&file[..end]).is_err(), "file of {end}");
    }
    for end in 0..message.len() {
        assert!(Message::decode(&message[..end]).is_err(), "message of {end}");
    }
    for end in 0..record.len() {
        assert!(Keyring::decode(&record[..end]).is_err(), "record of {end}");
    }
    for end in 0..promise.len() {
        assert!(Promise::decode(&promise[..end]).is_err(), "promise of {end}");
    }
    let longer = |bytes: &[u8]| [bytes, &[0]].concat();
    assert!(Durable::decode(&longer(&file)).is_err() && Message::decode(&longer(&message)).is_err());
    assert!(Keyring::decode(&longer(&record)).is_err() && Promise::decode(&longer(&promise)).is_err());
}

#[test]
fn a_torn_file_is_told_from_another_one() {
    let bytes = sample::durable().encode();
    for at in 10..bytes.len() {
        let mut torn = bytes.clone();
        torn[at] ^= 0x10;
        assert_eq!(Durable::decode(&torn), Err(Damage::Crc { what: "peers' file" }), "byte {at}");
    }
    assert_eq!(Durable::decode(b"something else"), Err(Damage::NotThis { what: "peers' file" }));
    let mut newer = bytes;
    newer[8] = 2;
    assert_eq!(Durable::decode(&newer), Err(Damage::Newer { what: "peers' file", found: 2 }));
}

#[test]
fn what_is_out_of_order_or_too_long_is_refused() {
    let refused = |change: &dyn Fn(&mut Keyring), field: &'static str| {
        let mut record = sample::founding();
        change(&mut record);
        assert_eq!(Keyring::decode(&record.encode()), Err(Damage::Field { what: "keyring record", field }));
    };
    refused(&|record| record.members.reverse(), "members");
    refused(&|record| record.members.truncate(0), "members");
    refused(&|record| record.keys.push(record.keys[0].clone()), "generations");
    refused(&|record| record.ancestors.push(sample::ancestor(1, 1, [0; 32])), "ancestors");
    refused(&|record| record.expelled = vec!["b".parse().unwrap(), "a".parse().unwrap()], "expelled members");
    refused(&|record| record.mandate = vec![sample::promise("a"), sample::promise("a")], "mandate");
    refused(&|record| record.keys[0].generation = Generation(0), "generation");
    refused(&|record| record.stamp.epoch = u64::MAX, "stamp");
    let too_long = vec![0; RECORD_MAX + 1];
    assert!(Keyring::decode(&too_long).is_err());
}
