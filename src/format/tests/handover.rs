//! Handovers and foundings: there and back, against FORMAT.md, and whatever else may arrive instead.

use super::sample::VOLUME;
use super::tables::{lay_over, section, tables};
use crate::crypto::Secret;
use crate::format::Damage;
use crate::format::generations::{KeyState, REASON_MAX};
use crate::format::handover::{CHECK_LEN, FOUNDING_MAX, Founding, HANDOVER_MAX, Handover, KEY_MAX, SharedKey, VERSION};
use crate::units::Generation;

fn key(len: usize, byte: u8) -> Secret {
    Secret::filled(len, |bytes| bytes.fill(byte))
}

fn handover(generation: u32) -> Handover {
    Handover {
        generation: Generation(generation),
        key_id: [0xc1; 16],
        suite: 1,
        data_unit: 4096,
        tweak_unit: 512,
        tweak_base: 0x0102_0304_0506,
        created: 0x31_3233,
        reason: "cryptoperiod".into(),
        check: [0xcc; 16],
        key: key(64, 0x6b),
    }
}

fn shared(generation: u32, state: KeyState) -> SharedKey {
    let (compromised, activated, scheduled, bytes) = (generation == 2, 0x41, 0x42, 0x43);
    let mut handover = handover(generation);
    if state == KeyState::Destroyed {
        handover.key = Secret::zeroed(0);
    }
    SharedKey { handover, state, compromised, activated, scheduled, bytes }
}

fn founding() -> Founding {
    use KeyState::{Active, Destroyed, Empty};
    let keys = vec![shared(1, Destroyed), shared(2, Empty), shared(7, Active)];
    Founding { volume: VOLUME, size: 200 << 10, max_size: 1 << 20, extent_size: 64 << 10, data_unit: 4096, keys }
}

fn same(a: &Handover, b: &Handover) -> bool {
    let open = |it: &Handover| {
        let units = (it.data_unit, it.tweak_unit, it.tweak_base);
        (it.generation, it.key_id, it.suite, units, it.created, it.reason.clone(), it.check)
    };
    open(a) == open(b) && a.key.ct_eq(&b.key)
}

#[test]
fn handover_fields() {
    let (handover, encoded) = (handover(7), handover(7).encode());
    let r = handover.reason.len();
    lay_over(
        &tables(13)[0],
        &[('r', r), ('k', 64)],
        encoded.expose(),
        &[
            ("magic", b"KMHANDOV"),
            ("version", &VERSION.to_le_bytes()),
            ("generation", &7u32.to_le_bytes()),
            ("key id", &[0xc1; 16]),
            ("suite", &1u16.to_le_bytes()),
            ("data unit", &4096u32.to_le_bytes()),
            ("tweak unit", &512u32.to_le_bytes()),
            ("tweak base", &0x0102_0304_0506u64.to_le_bytes()),
            ("creation time", &0x31_3233u64.to_le_bytes()),
            ("length of the reason", &(r as u16).to_le_bytes()),
            ("reason", handover.reason.as_bytes()),
            ("check value", &[0xcc; 16]),
            ("length of the key", &64u16.to_le_bytes()),
            ("key", &[0x6b; 64]),
        ],
    );
    assert!(same(&Handover::decode(encoded.expose()).unwrap(), &handover));
    let bounds = format!("Bounds: key {KEY_MAX} bytes, reason {REASON_MAX} bytes, check value {CHECK_LEN} bytes");
    assert!(section(13).contains(&bounds), "{bounds}");
}

#[test]
fn founding_fields() {
    let founding = founding();
    let encoded = founding.encode();
    let (head, keys) = encoded.expose().split_at(58);
    lay_over(
        &tables(14)[0],
        &[],
        head,
        &[
            ("magic", b"KMFOUNDG"),
            ("version", &VERSION.to_le_bytes()),
            ("volume id", &VOLUME.0),
            ("size", &(200u64 << 10).to_le_bytes()),
            ("maximum size", &(1u64 << 20).to_le_bytes()),
            ("extent size", &(64u64 << 10).to_le_bytes()),
            ("data unit", &4096u32.to_le_bytes()),
            ("keys", &3u16.to_le_bytes()),
        ],
    );
    let last = handover(7).encode();
    let body = &last.expose()[12..];
    let at = keys.len() - body.len() - 26;
    lay_over(
        &tables(14)[1],
        &[('h', body.len())],
        &keys[at..],
        &[
            ("key state", &[2]),
            ("compromised", &[0]),
            ("activation time", &0x41u64.to_le_bytes()),
            ("date from which", &0x42u64.to_le_bytes()),
            ("bytes encrypted", &0x43u64.to_le_bytes()),
            ("the key", body),
        ],
    );
    let read = Founding::decode(encoded.expose()).unwrap();
    assert_eq!((read.volume, read.size, read.max_size), (VOLUME, 200 << 10, 1 << 20));
    assert_eq!((read.extent_size, read.data_unit, read.keys.len()), (64 << 10, 4096, 3));
    for (a, b) in read.keys.iter().zip(&founding.keys) {
        let open = |it: &SharedKey| (it.state, it.compromised, it.activated, it.scheduled, it.bytes);
        assert!(open(a) == open(b) && same(&a.handover, &b.handover));
    }
}

/// The longest are within the bounds that others reserve room for.
#[test]
fn the_longest_fit_their_bounds() {
    let long = || Handover { reason: "r".repeat(REASON_MAX + 9), ..handover(9) };
    assert_eq!(long().encode().len(), HANDOVER_MAX);
    assert!(Handover::decode(long().encode().expose()).unwrap().reason.len() == REASON_MAX);
    let keys = (1..=255u32).map(|generation| {
        let state = if generation == 255 { KeyState::Active } else { KeyState::Empty };
        SharedKey { handover: Handover { generation: Generation(generation), ..long() }, ..shared(generation, state) }
    });
    let all = Founding { keys: keys.collect(), ..founding() };
    assert_eq!(all.encode().len(), FOUNDING_MAX);
    assert_eq!(Founding::decode(all.encode().expose()).unwrap().keys.len(), 255);
}

fn damage<T>(read: Result<T, Damage>) -> String {
    read.err().expect("it was read").to_string()
}

#[test]
fn what_is_none_is_refused_by_name() {
    let bad = |change: &dyn Fn(&mut Handover)| {
        let mut handover = handover(7);
        change(&mut handover);
        damage(Handover::decode(handover.encode().expose()))
    };
    assert_eq!(bad(&|it| it.generation = Generation(0)), "handover: generation is out of bounds");
    assert_eq!(bad(&|it| it.generation = Generation(u32::MAX)), "handover: generation is out of bounds");
    assert_eq!(bad(&|it| it.data_unit = 1024), "handover: data unit or tweak unit is out of bounds");
    assert_eq!(
        bad(&|it| (it.data_unit, it.tweak_unit) = (512, 4096)),
        "handover: data unit or tweak unit is out of bounds"
    );
    assert_eq!(bad(&|it| it.created = u64::MAX), "handover: creation time is out of bounds");
    assert_eq!(bad(&|it| it.key = key(65, 1)), "handover: key is out of bounds");
    let good = handover(7).encode();
    assert_eq!(damage(Handover::decode(&[good.expose(), &[0]].concat())), "handover: end is out of bounds");
    assert_eq!(damage(Founding::decode(good.expose())), "no founding here: the magic does not match");
    let mut newer = good.expose().to_vec();
    newer[8] = 2;
    assert!(matches!(Handover::decode(&newer), Err(Damage::Newer { found: 2, .. })));
    let bad = |change: &dyn Fn(&mut Founding)| {
        let mut founding = founding();
        change(&mut founding);
        damage(Founding::decode(founding.encode().expose()))
    };
    assert_eq!(bad(&|it| it.keys.clear()), "founding: key count is out of bounds");
    assert_eq!(bad(&|it| it.keys.swap(0, 1)), "founding: generation order is out of bounds");
    assert_eq!(bad(&|it| it.keys[2].state = KeyState::Empty), "founding: active generation is out of bounds");
    assert_eq!(bad(&|it| it.keys[1].state = KeyState::Active), "founding: active generation is out of bounds");
    assert_eq!(bad(&|it| it.keys[1].state = KeyState::Revoked), "founding: key state is out of bounds");
    assert_eq!(
        bad(&|it| it.keys[0].handover.key = key(64, 1)),
        "founding: key of a destroyed generation is out of bounds"
    );
}

/// Every cut and every changed byte gives an error or something else, never a panic.
#[test]
fn nothing_that_arrives_is_more_than_an_error() {
    for bytes in [handover(7).encode(), founding().encode()] {
        let bytes = bytes.expose();
        for end in 0..bytes.len() {
            assert!(Handover::decode(&bytes[..end]).is_err() && Founding::decode(&bytes[..end]).is_err(), "{end}");
        }
        for index in 0..bytes.len() {
            for value in [0, 1, 0x7f, 0xff] {
                let mut changed = bytes.to_vec();
                changed[index] = value;
                let _ = (Handover::decode(&changed).is_ok(), Founding::decode(&changed).is_ok());
            }
        }
    }
}
