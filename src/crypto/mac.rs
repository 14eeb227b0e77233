//! HMAC-SHA256 (RFC 2104, FIPS 198-1): authenticates every structure that steers decryption or rotation.
//!
//! Invariants: the keyed state lives in locked memory; tags are compared in constant time, and only whole tags count.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use crate::crypto::locked::Locked;
use crate::crypto::scrub::scrub_stack;
use crate::crypto::secret::Secret;

/// Length of a tag, bytes.
pub const TAG_LEN: usize = 32;

/// A key for tags, expanded.
pub struct MacKey(Locked<Hmac<Sha256>>);

impl MacKey {
    /// Expands `key`, of any length (ours are 32 bytes).
    pub fn new(key: &Secret) -> MacKey {
        let made = MacKey::keyed(key);
        scrub_stack();
        made
    }

    #[inline(never)]
    fn keyed(key: &Secret) -> MacKey {
        MacKey(Locked::new(keyed(key.expose())))
    }

    /// The tag of `parts`, as if they were one run of bytes.
    pub fn tag(&self, parts: &[&[u8]]) -> [u8; TAG_LEN] {
        let mut state = (*self.0).clone();
        parts.iter().for_each(|part| state.update(part));
        state.finalize().into_bytes().into()
    }

    /// Whether `tag` is the tag of `parts`; constant time in the contents.
    pub fn verify(&self, parts: &[&[u8]], tag: &[u8]) -> bool {
        self.tag(parts).as_slice().ct_eq(tag).into()
    }
}

fn keyed(key: &[u8]) -> Hmac<Sha256> {
    match Hmac::new_from_slice(key) {
        Ok(state) => state,
        Err(_) => unreachable!("HMAC takes keys of any length"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_one_message_and_any_change_shows() {
        let key = MacKey::new(&Secret::filled(32, |bytes| bytes.fill(3)));
        let tag = key.tag(&[b"ab", b"c"]);
        assert_eq!(tag, key.tag(&[b"abc"]));
        assert!(key.verify(&[b"abc"], &tag));
        assert!(!key.verify(&[b"abd"], &tag));
        assert!(!key.verify(&[b"abc"], &tag[..31]));
        assert!(!key.verify(&[b"abc"], &[]));
        for bit in 0..256 {
            let mut changed = tag;
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(!key.verify(&[b"abc"], &changed));
        }
        assert!(!MacKey::new(&Secret::zeroed(32)).verify(&[b"abc"], &tag));
    }
}
