//! Records of the intent ring. The first bytes choose shape, sequence and slots, the rest is the body. Promises: a record
//! that is accepted names extents of the volume only, its images have the length the shape asks for, and it reads back as
//! the same from the slot its sequence gives.

use keymoult::format::envelope::RECORD;
use keymoult::format::intents::{Image, Record, slot_of};
use keymoult::format::layout::Shape;

use crate::support::input::Input;
use crate::support::sealed::{both_ways, seal, shapes};

pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let (shape, sequence, slots) = (input.pick(&shapes()), input.u64() >> 2, 3 + u32::from(input.u8()));
    let body = input.rest();
    let Some(decoded) = both_ways(RECORD, 0, body, |found| Record::decode(found, &shape)) else { return };
    for commit in &decoded.commits {
        assert!(commit.extent.0 < shape.extents());
    }
    for intent in &decoded.intents {
        assert_eq!(image_len(&intent.image), wanted(&shape, intent.extent.0));
    }
    let record = Record { sequence, ..decoded };
    let again = record.seal(seal(), slots);
    assert_eq!(Record::open(seal(), slot_of(sequence, slots), &again, &shape), Ok(record));
}

fn image_len(image: &Image) -> u64 {
    match image {
        Image::Fingerprints(prints) => prints.len() as u64,
        Image::Ciphertext(bytes) => bytes.len() as u64,
    }
}

fn wanted(shape: &Shape, extent: u32) -> u64 {
    let (first, end) = shape.extent_range(extent);
    match shape.mode {
        keymoult::format::layout::WriteMode::InPlace => (end - first) / u64::from(shape.granule),
        keymoult::format::layout::WriteMode::Journal => end - first,
    }
}
