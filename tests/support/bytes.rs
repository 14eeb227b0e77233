//! Bytes that can be made again from a seed, and a comparison that says where two differ.

/// `len` bytes that look random and depend on `seed` alone (xorshift64*); never all zero over 8 bytes.
pub fn pattern(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        bytes.extend_from_slice(&(state.wrapping_mul(0x2545_f491_4f6c_dd1d) | 1).to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// Panics with the first differing offset, not with megabytes of hex, when the two differ.
#[track_caller]
pub fn same(found: &[u8], wanted: &[u8], what: &str) {
    assert_eq!(found.len(), wanted.len(), "{what}: length");
    let Some(at) = found.iter().zip(wanted).position(|(a, b)| a != b) else {
        return;
    };
    let end = (at + 16).min(found.len());
    panic!("{what}: first difference at byte {at}: found {:02x?}, wanted {:02x?}", &found[at..end], &wanted[at..end]);
}
