//! Authentic structures of one volume: bodies sealed with a key the harness knows, so that an input reaches the decoder
//! that stands behind the MAC.

use std::sync::OnceLock;

use keymoult::crypto::Secret;
use keymoult::crypto::mac::MacKey;
use keymoult::format::envelope::{Kind, Unverified, peek};
use keymoult::format::layout::{Shape, WriteMode};
use keymoult::format::{Damage, Seal};
use keymoult::units::VolumeId;

/// The volume all authentic structures belong to.
pub const VOLUME: VolumeId = VolumeId([0xa5; 16]);

/// A secret of `len` equal bytes.
pub fn secret(len: usize, byte: u8) -> Secret {
    Secret::filled(len, |bytes| bytes.fill(byte))
}

/// What seals them.
pub fn seal() -> &'static Seal {
    static SEAL: OnceLock<Seal> = OnceLock::new();
    SEAL.get_or_init(|| Seal::new(VOLUME, MacKey::new(&secret(32, 7))))
}

/// Hands `bytes` to `decode` as they are, if their CRC is right, and once more as the body of an authentic structure.
pub fn both_ways<T>(
    kind: Kind,
    place: u64,
    bytes: &[u8],
    decode: impl Fn(&Unverified<'_>) -> Result<T, Damage>,
) -> Option<T> {
    if let Ok(found) = peek(kind, bytes) {
        let _ = decode(&found);
    }
    let sealed = seal().seal(kind, place, 7, bytes);
    let found = peek(kind, &sealed).unwrap();
    assert_eq!(seal().verify(&found, place), Ok((7, bytes)));
    decode(&found).ok()
}

/// Two extents, the last one of a single block, so that images are short.
pub fn shape(mode: WriteMode, granule: u32) -> Shape {
    Shape { size: (64 << 10) + 4096, max_size: 1 << 20, extent_size: 64 << 10, data_unit: 4096, granule, mode }
}

/// The shapes that decide how records are read.
pub fn shapes() -> [Shape; 3] {
    [shape(WriteMode::InPlace, 4096), shape(WriteMode::InPlace, 512), shape(WriteMode::Journal, 512)]
}
