//! What rot, a torn write and an attacker do to each structure: every byte changed, every length cut, every block moved.

use super::sample::{self, seal, seal_of};
use crate::format::canary::Canary;
use crate::format::envelope::{HEAD, Kind, MAC, OVERHEAD, peek};
use crate::format::intents::Record;
use crate::format::layout::{RING_SLOTS, WriteMode};
use crate::format::tags::{open_page, seal_page};
use crate::format::{Damage, Seal, envelope, stamp};
use crate::units::{BLOCK, Generation, VolumeId};

/// Opens a structure that stands at a place.
type OpenAt = Box<dyn Fn(&Seal, u64, &[u8]) -> Result<(), Damage>>;

/// A sealed structure, its envelope without the padding, and how it is opened.
struct Sealed {
    name: &'static str,
    bytes: Vec<u8>,
    used: usize,
    open: OpenAt,
    place: u64,
}

fn sealed() -> Vec<Sealed> {
    let of = |kind: Kind, place: u64, bytes: Vec<u8>, open: OpenAt| {
        let length = u32::from_le_bytes(bytes[12..16].try_into().unwrap()) as usize;
        Sealed { name: kind.name, used: length + OVERHEAD, bytes, open, place }
    };
    let plain = |kind: Kind| move |seal: &Seal, place: u64, bytes: &[u8]| seal.open(kind, place, bytes).map(|_| ());
    let shape = sample::shape(WriteMode::InPlace, 512);
    let record = sample::record(&shape);
    let page = seal_page(&seal(), 3, 5, (1..=1008).map(Generation));
    vec![
        of(envelope::SUPERBLOCK, 0, sample::superblock().seal(&seal(), 1), Box::new(plain(envelope::SUPERBLOCK))),
        of(envelope::GENERATIONS, 0, sample::table().seal(&seal(), 1).unwrap(), Box::new(plain(envelope::GENERATIONS))),
        of(
            envelope::CANARY,
            2,
            sample::canary().seal(&seal(), 2),
            Box::new(|seal, place, bytes| Canary::open(seal, place as u32, bytes).map(|_| ())),
        ),
        of(
            envelope::TAG_PAGE,
            3,
            page,
            Box::new(|seal, place, bytes| open_page(seal, place as u32, bytes).map(|_| ())),
        ),
        of(
            envelope::RECORD,
            5,
            record.seal(&seal(), RING_SLOTS),
            Box::new(move |seal, place, bytes| Record::open(seal, place as u32, bytes, &shape).map(|_| ())),
        ),
        of(envelope::STAMP, 0, stamp::seal(&seal(), 9), Box::new(plain(envelope::STAMP))),
    ]
}

/// Gives changed bytes the CRC they need, where their own length field says it stands.
fn repair_crc(bytes: &mut [u8]) {
    let length = u32::from_le_bytes(bytes[12..16].try_into().unwrap()) as usize;
    let end = HEAD.saturating_add(length).saturating_add(MAC);
    if let Some(place) = bytes.get(end..end.saturating_add(4)).map(|_| end) {
        let crc = crc32fast::hash(&bytes[..place]);
        bytes[place..place + 4].copy_from_slice(&crc.to_le_bytes());
    }
}

#[test]
fn whole_structures_open() {
    for it in sealed() {
        assert_eq!((it.open)(&seal(), it.place, &it.bytes), Ok(()), "{}", it.name);
        assert_eq!(it.bytes.len() % BLOCK as usize, 0, "{} is padded to blocks", it.name);
    }
}

#[test]
fn every_changed_byte_is_an_accident() {
    for it in sealed() {
        for at in 0..it.used {
            let mut bytes = it.bytes.clone();
            bytes[at] ^= 0x40;
            let damage = (it.open)(&seal(), it.place, &bytes).expect_err(it.name);
            let fits = match at {
                0..8 => matches!(damage, Damage::NotThis { .. }),
                8..12 => matches!(damage, Damage::Newer { .. } | Damage::Crc { .. }),
                _ => matches!(damage, Damage::Crc { .. }),
            };
            assert!(fits, "{} byte {at}: {damage}", it.name);
            assert!(!damage.is_tampering());
        }
    }
}

#[test]
fn every_changed_byte_with_the_crc_repaired_is_tampering() {
    for it in sealed() {
        for at in 12..it.used - 4 {
            let mut bytes = it.bytes.clone();
            bytes[at] ^= 1;
            repair_crc(&mut bytes);
            let damage = (it.open)(&seal(), it.place, &bytes).expect_err(it.name);
            // A length that leads out of the block leaves no place for a CRC.
            let fits = damage.is_tampering() || ((12..16).contains(&at) && matches!(damage, Damage::Crc { .. }));
            assert!(fits, "{} byte {at}: {damage}", it.name);
        }
    }
}

#[test]
fn a_block_elsewhere_is_not_authentic() {
    for it in sealed() {
        let moved = (it.open)(&seal(), it.place + 1, &it.bytes).unwrap_err();
        assert!(moved.is_tampering(), "{} moved: {moved}", it.name);
        let foreign = (it.open)(&seal_of(VolumeId([1; 16]), 7), it.place, &it.bytes).unwrap_err();
        assert!(foreign.is_tampering(), "{} of another volume: {foreign}", it.name);
        let rekeyed = (it.open)(&seal_of(sample::VOLUME, 8), it.place, &it.bytes).unwrap_err();
        assert!(rekeyed.is_tampering(), "{} under another key: {rekeyed}", it.name);
    }
}

#[test]
fn one_structure_is_never_taken_for_another() {
    let kinds = [
        envelope::SUPERBLOCK,
        envelope::GENERATIONS,
        envelope::CANARY,
        envelope::TAG_PAGE,
        envelope::RECORD,
        envelope::STAMP,
    ];
    for it in sealed() {
        for kind in kinds.into_iter().filter(|kind| kind.name != it.name) {
            assert_eq!(peek(kind, &it.bytes).err(), Some(Damage::NotThis { what: kind.name }));
        }
    }
}

#[test]
fn every_truncation_is_refused_and_none_panics() {
    for it in sealed() {
        for len in 0..it.used {
            assert!((it.open)(&seal(), it.place, &it.bytes[..len]).is_err(), "{} cut to {len}", it.name);
        }
        assert_eq!((it.open)(&seal(), it.place, &it.bytes[..it.used]), Ok(()), "{}: padding is not needed", it.name);
    }
}

#[test]
fn a_newer_version_is_named_even_if_its_crc_is_unknown() {
    for it in sealed() {
        let mut bytes = it.bytes.clone();
        bytes[8] = 2;
        let newer = (it.open)(&seal(), it.place, &bytes).unwrap_err();
        assert!(matches!(newer, Damage::Newer { found: 2, .. }), "{}: {newer}", it.name);
        repair_crc(&mut bytes);
        let newer = (it.open)(&seal(), it.place, &bytes).unwrap_err();
        assert!(newer.to_string().contains("format version 2; this build reads up to 1"), "{newer}");
    }
}

#[test]
fn an_all_zero_block_is_told_from_another_kind_of_content() {
    for it in sealed() {
        let zero = vec![0u8; it.bytes.len()];
        assert_eq!((it.open)(&seal(), it.place, &zero), Err(Damage::Zero { what: it.name }));
        let text = vec![b'x'; it.bytes.len()];
        assert_eq!((it.open)(&seal(), it.place, &text), Err(Damage::NotThis { what: it.name }));
    }
}
