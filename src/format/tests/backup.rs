//! Header backups and escrow bundles: sections 11 and 12 of the document against the code, and what damage does to them.

use super::sample::{self, seal, seal_of};
use super::tables::{lay_over, section, tables};
use crate::format::Damage;
use crate::format::backup::{Backup, Sealed, runs, span};
use crate::format::envelope::{BACKUP, peek};
use crate::format::generations::{Phase, Rotation};
use crate::units::Generation;

fn backup() -> Backup {
    Backup {
        holder: [0x71; 16],
        made: 0x72,
        superblock: (sample::superblock(), 5),
        table: (sample::table(), 9),
        canaries: vec![(1, vec![0xc1; 70]), (2, vec![0xc2; 80])],
        tags: vec![(1, Generation(2)), (3, Generation(1))],
    }
}

#[test]
fn fields_are_where_the_document_says() {
    let backup = backup();
    let bytes = backup.seal(&seal()).unwrap();
    let found = peek(BACKUP, &bytes).unwrap();
    assert_eq!(found.sequence, backup.superblock.0.epoch);
    let (superblock, table) = (backup.superblock.0.seal(&seal(), 5), backup.table.0.seal(&seal(), 9).unwrap());
    let (s, t) = (superblock.len(), table.len());
    let canaries: Vec<u8> = backup
        .canaries
        .iter()
        .flat_map(|(slot, block)| {
            let mut bytes = slot.to_le_bytes().to_vec();
            bytes.extend((block.len() as u16).to_le_bytes());
            bytes.extend(block);
            bytes
        })
        .collect();
    let (c, rows) = (canaries.len(), tables(11));
    let tags: Vec<u8> = [1u32, 2, 3, 1].iter().flat_map(|number| number.to_le_bytes()).collect();
    lay_over(
        &rows[0],
        &[('s', s), ('t', t), ('c', c), ('r', 2)],
        found.body,
        &[
            ("volume id", &sample::VOLUME.0),
            ("holder id", &backup.holder),
            ("time it was made", &0x72u64.to_le_bytes()),
            ("length of the superblock", &(s as u32).to_le_bytes()),
            ("superblock", &superblock),
            ("length of the generation table", &(t as u32).to_le_bytes()),
            ("generation table", &table),
            ("canaries", &2u16.to_le_bytes()),
            ("the canaries", &canaries),
            ("runs of tags", &2u32.to_le_bytes()),
            ("the runs", &tags),
        ],
    );
    lay_over(
        &rows[1],
        &[('c', 70)],
        &canaries[..74],
        &[("canary slot", &1u16.to_le_bytes()), ("length", &70u16.to_le_bytes()), ("canary block", &[0xc1; 70])],
    );
}

#[test]
fn there_and_back_and_only_under_its_own_key() {
    let bytes = backup().seal(&seal()).unwrap();
    assert_eq!(Sealed::read(&bytes).unwrap().verify(&seal()).unwrap(), backup());
    let other = Sealed::read(&bytes).unwrap().verify(&seal_of(sample::VOLUME, 8));
    assert_eq!(other, Err(Damage::Mac { what: BACKUP.name }));
}

/// Every byte changed, every length: an error, and never a panic.
#[test]
fn any_damage_is_found() {
    let bytes = backup().seal(&seal()).unwrap();
    for at in (0..bytes.len()).step_by(7) {
        let mut changed = bytes.clone();
        changed[at] ^= 0x20;
        assert!(Sealed::read(&changed).is_err(), "byte {at}");
    }
    for len in (0..bytes.len()).step_by(11) {
        assert!(Sealed::read(&bytes[..len]).is_err(), "{len} bytes");
    }
}

/// With a right CRC and MAC: what no writer makes is refused by name.
#[test]
fn what_cannot_be_is_refused() {
    let refused = |change: &dyn Fn(&mut Backup)| {
        let mut backup = backup();
        change(&mut backup);
        let bytes = backup.seal(&seal()).unwrap();
        Sealed::read(&bytes).err().unwrap().to_string()
    };
    assert!(refused(&|backup| backup.tags = vec![(3, Generation(1))]).contains("runs of tags"));
    assert!(refused(&|backup| backup.tags = vec![(4, Generation(1)), (0, Generation(2))]).contains("run of tags"));
    assert!(
        refused(&|backup| backup.tags = vec![(u32::MAX, Generation(1)), (5, Generation(2))]).contains("run of tags")
    );
    assert!(refused(&|backup| backup.canaries[0].0 = 256).contains("canary slot"));
}

#[test]
fn only_an_ended_rotation_is_settled() {
    let mut backup = backup();
    assert!(!backup.is_settled());
    backup.table.0.rotation = Rotation { phase: Phase::Finalized, ..Rotation::none(Generation(2)) };
    assert!(!backup.is_settled(), "an extent is under another generation");
    backup.tags = runs([2, 2, 2, 2].map(Generation));
    assert_eq!(backup.tags, [(4, Generation(2))]);
    assert!(backup.is_settled());
    backup.table.0.rotation.rollback_to = Some(Generation(1));
    assert!(!backup.is_settled(), "there is a way back");
    assert_eq!(span(&backup.table.0), (Generation(1), Generation(2)));
}

#[test]
fn a_bundle_is_laid_out_as_the_document_says() {
    use crate::format::bundle::{Bundle, KEYS_MAX, RECIPIENT_MAX, SHARE_MAX, Share};
    let share = |name: &str, byte| Share { recipient: name.into(), sealed: vec![byte; 3] };
    let bundle = Bundle {
        volume: sample::VOLUME,
        holder: [0x71; 16],
        made: 0x72,
        threshold: 2,
        shares: vec![share("age1a", 5), share("age1b", 6)],
        keys: vec![7; 4],
        backup: vec![8; 5],
    };
    let mut wanted = b"KMESCROW\x01\0\0\0".to_vec();
    wanted.extend([&sample::VOLUME.0[..], &[0x71; 16], &0x72u64.to_le_bytes(), &[2, 2]].concat());
    wanted.extend(b"\x05\0age1a\x03\0\x05\x05\x05\x05\0age1b\x03\0\x06\x06\x06");
    wanted.extend(b"\x05\0\0\0\x08\x08\x08\x08\x08");
    assert_eq!(bundle.open_part(), wanted);
    wanted.extend(b"\x04\0\0\0\x07\x07\x07\x07");
    wanted.extend(crc32fast::hash(&wanted).to_le_bytes());
    assert_eq!(bundle.encode(), wanted);
    assert_eq!(Bundle::decode(&wanted).unwrap(), bundle);
    let bounds = format!(
        "recipient {RECIPIENT_MAX} bytes, sealed share {SHARE_MAX} bytes, sealed keys {KEYS_MAX} bytes, shares 255"
    );
    assert!(section(12).contains(&bounds), "{bounds}");
}
