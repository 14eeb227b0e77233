//! Types for the numbers that must not be mixed up: generations, extents, volume identity.
//!
//! Invariants: a [`Generation`] only ever grows within a volume and is never reused; generation 0 is the
//! volume metadata key and never encrypts data. `first`/`end` (exclusive) name ranges, `index` < `count`.

use std::fmt;

/// The size of a metadata block and the alignment of every zone, in bytes.
pub const BLOCK: u64 = 4096;

/// The size of a hole slice in bytes: an all-zero ciphertext slice of this size reads as zeros in every generation.
pub const HOLE_SLICE: usize = 512;

/// A key generation of one volume. 0 is reserved for the volume metadata key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Generation(pub u32);

impl Generation {
    /// The reserved generation of the volume metadata key.
    pub const METADATA: Generation = Generation(0);
    /// The first generation that encrypts data.
    pub const FIRST: Generation = Generation(1);
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Index of an extent in its volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Extent(pub u32);

impl fmt::Display for Extent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Identity of a volume: 16 random bytes, printed as a UUID (RFC 9562, version 4).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VolumeId(pub [u8; 16]);

impl VolumeId {
    /// Makes an identity of 16 random bytes, marking version and variant as RFC 9562 asks.
    pub fn from_random(mut bytes: [u8; 16]) -> VolumeId {
        bytes[6] = (bytes[6] & 0x0f) | 0x40;
        bytes[8] = (bytes[8] & 0x3f) | 0x80;
        VolumeId(bytes)
    }
}

/// Bytes as hexadecimal digits, small ones.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| char::from(DIGITS[usize::from(nibble)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// The value of a hexadecimal digit.
pub fn nibble(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|value| value as u8)
}

/// What exactly as many hexadecimal digits say: the way back from [`hex`].
pub fn unhex<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    let (pairs, rest) = digits.as_chunks::<2>();
    if pairs.len() != N || !rest.is_empty() {
        return None;
    }
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = nibble(*high)? << 4 | nibble(*low)?;
    }
    Some(bytes)
}

impl fmt::Display for VolumeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, byte) in self.0.iter().enumerate() {
            if matches!(index, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for VolumeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// Rounds `value` down to a multiple of `unit`, a power of two.
pub const fn align_down(value: u64, unit: u64) -> u64 {
    value & !(unit - 1)
}

/// Rounds `value` up to a multiple of `unit`, a power of two; saturates at the largest multiple.
pub const fn align_up(value: u64, unit: u64) -> u64 {
    match value.checked_add(unit - 1) {
        Some(sum) => align_down(sum, unit),
        None => align_down(u64::MAX, unit),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volume_id_prints_as_uuid() {
        let id = VolumeId::from_random([0xff; 16]);
        assert_eq!(id.to_string(), "ffffffff-ffff-4fff-bfff-ffffffffffff");
    }

    #[test]
    fn digits_read_back() {
        assert_eq!(unhex(hex(&[0x0a, 0xff]).as_bytes()), Some([0x0a, 0xff]));
        assert_eq!(unhex(b"0AfF"), Some([0x0a, 0xff]));
        for wrong in ["0af", "0aff0", "0aff00", "0a+f", "0a f", ""] {
            assert_eq!(unhex::<2>(wrong.as_bytes()), None, "{wrong}");
        }
    }

    #[test]
    fn alignment_saturates() {
        assert_eq!(align_up(1, 4096), 4096);
        assert_eq!(align_up(u64::MAX, 4096), u64::MAX - 4095);
        assert_eq!(align_down(8191, 4096), 4096);
    }
}
