//! Envelopes of every kind. Promises: what was sealed opens and gives its body back; the same bytes with one bit changed,
//! cut short, under another kind or in another place do not open; strange bytes never open.

use keymoult::format::Damage;
use keymoult::format::envelope::{CANARY, GENERATIONS, Kind, RECORD, STAMP, SUPERBLOCK, TAG_PAGE, peek};

use crate::support::input::Input;
use crate::support::sealed::seal;

const KINDS: [Kind; 6] = [SUPERBLOCK, GENERATIONS, CANARY, TAG_PAGE, RECORD, STAMP];

pub fn run(bytes: &[u8]) {
    for kind in KINDS {
        let _ = peek(kind, bytes).map(|found| seal().verify(&found, 0));
    }
    let mut input = Input::new(bytes);
    let (kind, place, sequence) = (input.pick(&KINDS), input.u64(), input.u64() >> 2);
    let (at, bit) = (usize::from(input.u16()), input.index(8));
    let body = input.rest();
    let sealed = seal().seal(kind, place, sequence, body);
    assert_eq!(seal().open(kind, place, &sealed), Ok((sequence, body)));
    let beyond = seal().seal(kind, place, sequence | 1 << 63, body);
    assert_eq!(peek(kind, &beyond).err(), Some(Damage::Field { what: kind.name, field: "sequence" }));
    let mut padded = sealed.clone();
    padded.resize(sealed.len() + 100, 0xee);
    assert_eq!(seal().open(kind, place, &padded), Ok((sequence, body)), "what stands behind an envelope is not its");

    let mut changed = sealed.clone();
    changed[at % sealed.len()] ^= 1 << bit;
    assert!(seal().open(kind, place, &changed).is_err(), "a changed bit");
    assert!(peek(kind, &sealed[..at % sealed.len()]).is_err(), "cut short");
    let other = place.wrapping_add(1 + at as u64);
    assert_eq!(seal().open(kind, other, &sealed), Err(Damage::Mac { what: kind.name }), "moved");
    for other in KINDS.into_iter().filter(|other| *other != kind) {
        assert_eq!(peek(other, &sealed).err(), Some(Damage::NotThis { what: other.name }));
    }
}
