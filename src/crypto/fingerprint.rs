//! Fingerprints of ciphertext: XXH3-64 with a secret of its own, one per granule.
//!
//! Recovery uses them to tell whether a granule on disk is the old ciphertext or the new one; the secret keeps someone
//! who chooses data from choosing collisions. They are no MAC: the record that carries them has one.

use xxhash_rust::xxh3::xxh3_64_with_secret;

use crate::crypto::secret::Secret;

/// Length of the fingerprint secret, bytes (XXH3's own default length).
pub const SECRET_LEN: usize = 192;

/// Computes fingerprints under one secret.
pub struct Fingerprinter(Secret);

impl Fingerprinter {
    /// Takes a secret of [`SECRET_LEN`] bytes, derived from the volume metadata key.
    ///
    /// # Panics
    /// If the secret has another length.
    pub fn new(secret: Secret) -> Fingerprinter {
        assert_eq!(secret.len(), SECRET_LEN, "length of the fingerprint secret");
        Fingerprinter(secret)
    }

    /// The fingerprint of `data`.
    #[inline]
    pub fn one(&self, data: &[u8]) -> u64 {
        xxh3_64_with_secret(data, self.0.expose())
    }

    /// Appends the fingerprint of each granule of `data` to `out`; a last short one counts as it is.
    ///
    /// # Panics
    /// If `granule` is 0.
    pub fn all(&self, data: &[u8], granule: usize, out: &mut Vec<u64>) {
        out.extend(data.chunks(granule).map(|granule| self.one(granule)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fingerprinter(fill: u8) -> Fingerprinter {
        Fingerprinter::new(Secret::filled(SECRET_LEN, |bytes| {
            bytes.iter_mut().enumerate().for_each(|(i, byte)| *byte = fill ^ (i as u8));
        }))
    }

    #[test]
    fn one_per_granule_under_its_own_secret() {
        let data: Vec<u8> = (0..4096u32).map(|i| (i * 7 / 3) as u8).collect();
        let mut out = vec![1];
        fingerprinter(0).all(&data, 512, &mut out);
        assert_eq!(out.len(), 9);
        assert_eq!(out[1], fingerprinter(0).one(&data[..512]));
        assert_eq!(out[8], fingerprinter(0).one(&data[3584..]));
        assert_ne!(out[1], fingerprinter(1).one(&data[..512]));
        let mut changed = data.clone();
        changed[511] ^= 1;
        assert_ne!(out[1], fingerprinter(0).one(&changed[..512]));
    }
}
