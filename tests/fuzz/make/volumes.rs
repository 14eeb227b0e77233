//! Changes to golden images, as `support/patches.rs` reads them.

use crate::support::golden::images;

/// What is done besides: a full check (1), a repair (2), a rotation (4).
const ALL: u8 = 7;

/// One change: how (6: an authentic body, 2: an authentic sequence, …), of which structure, where, and to what.
fn change(how: u8, structure: [u8; 2], at: u16, bytes: &[u8]) -> Vec<u8> {
    [&[how][..], &structure, &at.to_le_bytes(), &[bytes.len() as u8], bytes].concat()
}

fn input(image: u8, acts: u8, changes: &[Vec<u8>]) -> Vec<u8> {
    [&[image, acts, 9, 0, 1, 0][..], &changes.concat()].concat()
}

pub fn changes() -> Vec<Vec<u8>> {
    let mut all: Vec<_> = (0..images().len() as u8).map(|image| input(image, ALL, &[])).collect();
    let last = u64::MAX.to_le_bytes();
    // Both superblocks: data unit, granule and mode, tail, checkpoint, epoch, poison.
    let both = |at, bytes: &[u8]| [change(6, [0, 0], at, bytes), change(6, [0, 1], at, bytes)];
    for (at, bytes) in [
        (40, &[0, 2, 0, 0][..]),
        (44, &[0, 2, 0, 0]),
        (48, &[1]),
        (156, &last),
        (164, &last),
        (204, &last),
        (230, b"poison"),
    ] {
        all.push(input(1, 0, &both(at, bytes)));
    }
    for kind in 0..6 {
        // A sequence at its end; a byte of the body changed under a right MAC, a right CRC, and neither; zeroed.
        all.push(input(1, 0, &[change(2, [kind, 0], 0, &last), change(2, [kind, 1], 0, &last)]));
        all.push(input(2, 0, &[change(6, [kind, 1], 4, &[2])]));
        all.push(input(2, 0, &[change(1, [kind, 0], 8, &[9])]));
        all.push(input(3, 0, &[change(0, [kind, 1], 30, &[0xff])]));
        all.push(input(4, 0, &[change(4, [kind, 0], 0, &[])]));
        all.push(input(5, 0, &[change(3, [kind, 0], 9, &[])]));
        all.push(input(5, 0, &[change(5, [kind, 0], 0, &[kind, 1])]));
    }
    // Generations: the units of every entry, and tags that name other generations.
    all.push(input(2, 0, &[change(6, [1, 0], 24, &[0, 2, 0, 0]), change(6, [1, 1], 24, &[0, 2, 0, 0])]));
    all.push(input(1, 0, &[change(6, [3, 0], 0, &[2]), change(6, [3, 1], 0, &[2])]));
    all
}
