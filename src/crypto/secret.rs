//! Bytes that must not leak: keys, passphrases, and what is derived from them.
//!
//! Invariants: a [`Secret`] is filled in place in locked memory, never copied out by this type, never printed (it has
//! neither `Debug` nor `Display`), cannot be cloned or serialized, and is wiped when dropped. Comparison is constant
//! time in the contents; the length is public.

use std::io;

use subtle::ConstantTimeEq;

use crate::crypto::error::CryptoError;
use crate::crypto::locked::Region;

/// Secret bytes of a fixed length, in locked memory.
///
/// It cannot be printed or copied:
/// ```compile_fail
/// println!("{:?}", keymoult::crypto::Secret::zeroed(32));
/// ```
/// ```compile_fail
/// let copy = keymoult::crypto::Secret::zeroed(32).clone();
/// ```
pub struct Secret(Region);

impl Secret {
    /// `len` zero bytes.
    pub fn zeroed(len: usize) -> Secret {
        Secret(Region::zeroed(len))
    }

    /// `len` bytes as `fill` writes them; they are zeros when it is called.
    pub fn filled(len: usize, fill: impl FnOnce(&mut [u8])) -> Secret {
        let mut secret = Secret::zeroed(len);
        fill(secret.0.as_mut_slice());
        secret
    }

    /// Like [`Secret::filled`], for sources that can fail.
    pub fn try_filled<E>(len: usize, fill: impl FnOnce(&mut [u8]) -> Result<(), E>) -> Result<Secret, E> {
        let mut secret = Secret::zeroed(len);
        fill(secret.0.as_mut_slice())?;
        Ok(secret)
    }

    /// `len` bytes at most, of which `fill` says how many it wrote; the rest is wiped and forgotten.
    pub fn read_up_to<E>(len: usize, fill: impl FnOnce(&mut [u8]) -> Result<usize, E>) -> Result<Secret, E> {
        let mut secret = Secret::zeroed(len);
        let kept = fill(secret.0.as_mut_slice())?;
        secret.0.truncate(kept);
        Ok(secret)
    }

    /// What `reader` gives, `most` bytes of it at the most.
    pub fn read_from(most: usize, reader: &mut impl io::Read) -> io::Result<Secret> {
        Secret::read_up_to(most, |buffer| {
            let mut filled = 0;
            while filled < buffer.len() {
                match reader.read(&mut buffer[filled..]) {
                    Ok(0) => break,
                    Ok(count) => filled += count,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(filled)
        })
    }

    /// `len` bytes from the system's random source.
    pub fn random(len: usize) -> Result<Secret, CryptoError> {
        Secret::try_filled(len, |bytes| getrandom::fill(bytes).map_err(CryptoError::Random))
    }

    /// Length, bytes.
    pub fn len(&self) -> usize {
        self.0.as_slice().len()
    }

    /// Whether there are no bytes at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes themselves. Whoever calls this answers for where they go.
    pub fn expose(&self) -> &[u8] {
        self.0.as_slice()
    }

    /// Compares the contents in constant time; different lengths are unequal at once.
    pub fn ct_eq(&self, other: &Secret) -> bool {
        self.expose().ct_eq(other.expose()).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equality_is_of_contents_and_length() {
        let a = Secret::filled(32, |bytes| bytes.fill(1));
        let b = Secret::filled(32, |bytes| bytes.fill(1));
        let c = Secret::filled(31, |bytes| bytes.fill(1));
        let d = Secret::filled(32, |bytes| bytes[31] = 1);
        assert!(a.ct_eq(&b));
        assert!(!a.ct_eq(&c));
        assert!(!a.ct_eq(&d));
    }

    #[test]
    fn what_was_not_read_is_forgotten() {
        let secret = Secret::read_up_to::<()>(100, |bytes| {
            bytes.fill(9);
            Ok(3)
        });
        assert_eq!(secret.map(|s| s.expose().to_vec()), Ok(vec![9, 9, 9]));
    }

    #[test]
    fn random_secrets_differ() {
        let a = Secret::random(32).unwrap();
        assert!(!a.ct_eq(&Secret::random(32).unwrap()));
        assert!(!a.ct_eq(&Secret::zeroed(32)));
    }
}
