//! The epoch stamp at the end of the data backing: two copies, written in turn.
//!
//! Durable before a rotation's first intent, so that a header from before that rotation, attached or detached, is
//! noticed when it is opened with this data. Invariants: the stamp's epoch is the superblock's, or one less if a
//! crash fell between the two writes (the header is always written first); the copy written is never the one that
//! counts, so a torn or unreadable one costs nothing.

use super::Damage;
use super::codec::{Reader, Writer};
use super::envelope::{STAMP, Seal};
use super::layout::Place;
use crate::units::BLOCK;

/// Where the stamp of `epoch` goes: a zone of one block has one copy, of two blocks two.
pub fn place(zone: &Place, epoch: u64) -> u64 {
    zone.offset + epoch % (zone.length / BLOCK).max(1) * BLOCK
}

/// Seals a stamp for `epoch` into one block.
pub fn seal(seal: &Seal, epoch: u64) -> Vec<u8> {
    let mut out = Writer::new();
    out.u64(epoch);
    let mut block = seal.seal(STAMP, 0, epoch, &out.bytes);
    block.resize(BLOCK as usize, 0);
    block
}

/// Opens one copy: its epoch.
pub fn open(seal: &Seal, block: &[u8]) -> Result<u64, Damage> {
    let (_, body) = seal.open(STAMP, 0, block)?;
    Reader::new(STAMP.name, body).u64("epoch")
}

/// The newest epoch among what the copies opened to; why there is none. A copy that is whole but not authentic is
/// tampering, whatever the other one says.
pub fn newest(copies: Vec<Result<u64, Damage>>) -> Result<u64, Damage> {
    let newest = copies.iter().flatten().max().copied();
    let mut damages = copies.into_iter().filter_map(Result::err);
    match (newest, damages.find(|damage| newest.is_none() || damage.is_tampering())) {
        (_, Some(damage)) => Err(damage),
        (newest, None) => newest.ok_or(Damage::Zero { what: STAMP.name }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_good_copy_counts_and_tampering_is_never_passed_over() {
        let (torn, forged) = (Damage::Crc { what: STAMP.name }, Damage::Mac { what: STAMP.name });
        assert_eq!(newest(vec![Ok(3), Ok(4)]), Ok(4));
        assert_eq!(newest(vec![Err(torn.clone()), Ok(4)]), Ok(4));
        assert_eq!(newest(vec![Ok(5), Err(forged.clone())]), Err(forged));
        assert_eq!(newest(vec![Err(torn.clone()), Err(Damage::Zero { what: STAMP.name })]), Err(torn));
        assert_eq!(newest(Vec::new()), Err(Damage::Zero { what: STAMP.name }));
    }

    #[test]
    fn the_copy_written_is_not_the_one_that_counts() {
        let two = Place { offset: 8192, length: 8192 };
        assert_ne!(place(&two, 7), place(&two, 8));
        assert_eq!(place(&two, 7), 12288);
        let one = Place { offset: 8192, length: 4096 };
        assert_eq!((place(&one, 7), place(&one, 8)), (8192, 8192));
    }
}
