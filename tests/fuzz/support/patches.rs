//! Changes to a golden image's metadata, as an input asks for them: of bytes as they are, of bodies under a right CRC, and
//! of bodies under a right CRC and MAC, which is what a build with a fault, or the holder of the key, could write.

use keymoult::format::canary;
use keymoult::format::envelope::{CANARY, GENERATIONS, HEAD, Kind, MAC, OVERHEAD, RECORD, STAMP, SUPERBLOCK, TAG_PAGE};
use keymoult::format::layout::{GENERATIONS_COPY, SUPERBLOCK_A, SUPERBLOCK_B};
use keymoult::format::superblock::Superblock;
use keymoult::units::BLOCK;

use super::golden::{Files, Golden};
use super::input::Input;

/// Most changes of one input.
const CHANGES_MAX: usize = 12;
/// Most bytes of one change.
const BYTES_MAX: usize = 64;

/// Where a structure stands.
#[derive(Clone, Copy)]
struct Spot {
    kind: Kind,
    /// What its MAC binds it to.
    place: u64,
    offset: usize,
    length: usize,
    in_data: bool,
}

/// Applies the changes `input` asks for to a copy of `golden`'s files.
pub fn apply(golden: &Golden, input: &mut Input<'_>) -> Files {
    let mut files = golden.files.clone();
    for _ in 0..CHANGES_MAX {
        if input.is_empty() {
            break;
        }
        change(golden, &mut files, input);
    }
    files
}

fn change(golden: &Golden, files: &mut Files, input: &mut Input<'_>) {
    let how = input.u8() % 8;
    let spot = spot(&golden.superblock, input);
    let at = usize::from(input.u16());
    let len = input.index(BYTES_MAX);
    let bytes = input.bytes(len);
    match how {
        0 => overwrite(region(files, &spot), at, bytes),
        1 => reseal(golden, files, &spot, Right::Crc, |body, _| overwrite(body, at, bytes)),
        2 => reseal(golden, files, &spot, Right::Mac, |_, sequence| *sequence = Input::new(bytes).u64()),
        3 => reseal(golden, files, &spot, Right::Mac, |body, _| body.resize(at.min(spot.length - OVERHEAD), 0)),
        4 => region(files, &spot).fill(0),
        5 => {
            let other = self::spot(&golden.superblock, &mut Input::new(bytes));
            let copy = region(files, &other).to_vec();
            overwrite(region(files, &spot), 0, &copy);
        }
        _ => reseal(golden, files, &spot, Right::Mac, |body, _| overwrite(body, at, bytes)),
    }
}

/// The structure an input names: a kind, and which of that kind.
fn spot(superblock: &Superblock, input: &mut Input<'_>) -> Spot {
    let (kind, index) = (input.index(6), u64::from(input.u8()));
    let zones = &superblock.zones;
    let spot = |kind, place, offset: u64, length: u64| Spot {
        kind,
        place,
        offset: offset as usize,
        length: length as usize,
        in_data: false,
    };
    match kind {
        0 => spot(SUPERBLOCK, 0, [SUPERBLOCK_A, SUPERBLOCK_B][index as usize % 2], BLOCK),
        1 => spot(GENERATIONS, 0, zones.generations.offset + index % 2 * GENERATIONS_COPY, GENERATIONS_COPY),
        2 => spot(CANARY, index % 4, zones.canaries.offset + index % 4 * canary::SLOT, canary::SLOT),
        3 => spot(TAG_PAGE, 0, zones.tags.offset + index % 2 * zones.tags.length / 2, BLOCK),
        4 => {
            let (slot, size) = (index % u64::from(superblock.ring_slots), u64::from(superblock.slot_size));
            spot(RECORD, slot, zones.ring.offset + slot * size, size)
        }
        _ => Spot { in_data: true, ..spot(STAMP, 0, zones.stamp.offset, BLOCK) },
    }
}

fn region<'a>(files: &'a mut Files, spot: &Spot) -> &'a mut [u8] {
    let file = if spot.in_data { &mut files.data } else { files.meta() };
    &mut file[spot.offset..spot.offset + spot.length]
}

fn overwrite(target: &mut [u8], at: usize, bytes: &[u8]) {
    if target.is_empty() {
        return;
    }
    let at = at % target.len();
    let len = bytes.len().min(target.len() - at);
    target[at..at + len].copy_from_slice(&bytes[..len]);
}

/// How much of a changed envelope is made right again.
#[derive(PartialEq)]
enum Right {
    Crc,
    Mac,
}

/// Takes a structure's envelope apart, changes body and sequence, and closes it again.
fn reseal(golden: &Golden, files: &mut Files, spot: &Spot, right: Right, change: impl FnOnce(&mut Vec<u8>, &mut u64)) {
    let region = region(files, spot);
    let claimed = Input::new(&region[12..]).u32() as usize;
    let length = claimed.min(spot.length - OVERHEAD);
    let mut sequence = Input::new(&region[16..]).u64();
    let mut body = region[HEAD..HEAD + length].to_vec();
    change(&mut body, &mut sequence);
    let mut sealed = golden.keys.seal.seal(spot.kind, spot.place, sequence, &body);
    if right == Right::Crc {
        let end = sealed.len() - 4;
        sealed[end - MAC] ^= 1;
        let crc = crc32fast::hash(&sealed[..end]);
        sealed[end..].copy_from_slice(&crc.to_le_bytes());
    }
    region.fill(0);
    region[..sealed.len()].copy_from_slice(&sealed);
}
