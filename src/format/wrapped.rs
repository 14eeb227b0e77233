//! One wrapped copy of a key, as the generation table carries it: bytes only.
//!
//! Layout (integers little endian), without padding:
//! ```text
//! 0  1  provider
//! 1  1  reserved, 0
//! 2  2  length of the KEK id, bytes (at most KEK_ID_MAX)
//! 4  4  KEK version
//! 8  2  length of the blob, bytes (at most WRAP_BLOB_MAX)
//! 10 n  KEK id, UTF-8
//! ..  m  blob
//! ```
//! Nothing here authenticates a wrap: the blob does so itself when it is opened, and the table has a MAC.

use crate::limits::{KEK_ID_MAX, WRAP_BLOB_MAX};

/// Bytes before the KEK id.
pub const HEADER_LEN: usize = 10;
/// Most bytes an encoded wrap can take.
pub const ENCODED_MAX: usize = HEADER_LEN + KEK_ID_MAX + WRAP_BLOB_MAX;

const _: () = assert!(KEK_ID_MAX <= u16::MAX as usize);
const _: () = assert!(WRAP_BLOB_MAX <= u16::MAX as usize);

/// A key wrapped by one KEK.
#[derive(Clone, PartialEq, Eq)]
pub struct Wrapped {
    /// Which kind of keeper wrapped it (`keys::ProviderKind`).
    pub provider: u8,
    /// Which KEK of that keeper.
    pub kek_id: String,
    /// Which version of that KEK.
    pub kek_version: u32,
    /// What the keeper made of the key.
    pub blob: Vec<u8>,
}

impl std::fmt::Debug for Wrapped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wrapped")
            .field("provider", &self.provider)
            .field("kek_id", &self.kek_id)
            .field("kek_version", &self.kek_version)
            .field("blob_len", &self.blob.len())
            .finish()
    }
}

/// Why bytes are no wrap, or a wrap does not fit its bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WrappedError {
    /// The bytes end before the wrap does.
    #[error("a wrapped key is cut short: {needed} bytes needed, {found} there")]
    Short {
        /// Bytes that the wrap needs.
        needed: usize,
        /// Bytes that are there.
        found: usize,
    },
    /// A length above its limit.
    #[error("the {field} of a wrapped key is {found} bytes long, at most {most} are allowed")]
    TooLong {
        /// `KEK id` or `blob`.
        field: &'static str,
        /// Its length, bytes.
        found: usize,
        /// The limit, bytes.
        most: usize,
    },
    /// A reserved byte that is not zero: a newer format, or damage.
    #[error("a reserved byte of a wrapped key is {0:#04x}")]
    Reserved(u8),
    /// The KEK id is not text.
    #[error("the KEK id of a wrapped key is not UTF-8")]
    KekId,
}

impl Wrapped {
    /// Bytes that [`Wrapped::encode`] appends.
    pub fn encoded_len(&self) -> usize {
        HEADER_LEN + self.kek_id.len() + self.blob.len()
    }

    /// Appends the encoded wrap to `out`; on an error nothing is appended.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), WrappedError> {
        let kek_id_len = limited("KEK id", self.kek_id.len(), KEK_ID_MAX)?;
        let blob_len = limited("blob", self.blob.len(), WRAP_BLOB_MAX)?;
        out.reserve(self.encoded_len());
        out.extend_from_slice(&[self.provider, 0]);
        out.extend_from_slice(&kek_id_len.to_le_bytes());
        out.extend_from_slice(&self.kek_version.to_le_bytes());
        out.extend_from_slice(&blob_len.to_le_bytes());
        out.extend_from_slice(self.kek_id.as_bytes());
        out.extend_from_slice(&self.blob);
        Ok(())
    }

    /// Reads one wrap from the front of `bytes`; returns it and what follows.
    pub fn decode(bytes: &[u8]) -> Result<(Wrapped, &[u8]), WrappedError> {
        let short = |needed| WrappedError::Short {
            needed,
            found: bytes.len(),
        };
        let (header, rest) = bytes
            .split_first_chunk::<HEADER_LEN>()
            .ok_or(short(HEADER_LEN))?;
        let [provider, reserved, i0, i1, v0, v1, v2, v3, b0, b1] = *header;
        if reserved != 0 {
            return Err(WrappedError::Reserved(reserved));
        }
        let kek_id_len = usize::from(u16::from_le_bytes([i0, i1]));
        let blob_len = usize::from(u16::from_le_bytes([b0, b1]));
        limited("KEK id", kek_id_len, KEK_ID_MAX)?;
        limited("blob", blob_len, WRAP_BLOB_MAX)?;
        let needed = HEADER_LEN + kek_id_len + blob_len;
        let (kek_id, rest) = rest.split_at_checked(kek_id_len).ok_or(short(needed))?;
        let (blob, rest) = rest.split_at_checked(blob_len).ok_or(short(needed))?;
        let wrapped = Wrapped {
            provider,
            kek_id: std::str::from_utf8(kek_id)
                .map_err(|_| WrappedError::KekId)?
                .to_owned(),
            kek_version: u32::from_le_bytes([v0, v1, v2, v3]),
            blob: blob.to_vec(),
        };
        Ok((wrapped, rest))
    }
}

fn limited(field: &'static str, found: usize, most: usize) -> Result<u16, WrappedError> {
    match u16::try_from(found) {
        Ok(len) if found <= most => Ok(len),
        _ => Err(WrappedError::TooLong { field, found, most }),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn wrapped() -> Wrapped {
        Wrapped {
            provider: 1,
            kek_id: "file-ab".into(),
            kek_version: 0x0102,
            blob: vec![9, 8, 7],
        }
    }

    #[test]
    fn the_bytes_are_as_documented() {
        let mut out = vec![0xff];
        wrapped().encode(&mut out).unwrap();
        let golden = b"\xff\x01\x00\x07\x00\x02\x01\x00\x00\x03\x00file-ab\x09\x08\x07";
        assert_eq!(out, golden);
        out.push(0x55);
        let (back, rest) = Wrapped::decode(&out[1..]).unwrap();
        assert_eq!((back, rest), (wrapped(), &[0x55][..]));
        assert_eq!(wrapped().encoded_len(), golden.len() - 1);
    }

    #[test]
    fn every_cut_is_short() {
        let mut out = Vec::new();
        wrapped().encode(&mut out).unwrap();
        for len in 0..out.len() {
            let error = Wrapped::decode(&out[..len]).unwrap_err();
            assert!(
                matches!(error, WrappedError::Short { found, .. } if found == len),
                "{len}"
            );
        }
    }

    #[test]
    fn limits_hold_both_ways() {
        let mut long = wrapped();
        long.kek_id = "k".repeat(KEK_ID_MAX + 1);
        let mut out = Vec::new();
        assert_eq!(
            long.encode(&mut out).unwrap_err().to_string(),
            "the KEK id of a wrapped key is 256 bytes long, at most 255 are allowed"
        );
        assert!(out.is_empty());
        let mut long = wrapped();
        long.blob = vec![0; WRAP_BLOB_MAX + 1];
        assert!(long.encode(&mut out).is_err() && out.is_empty());
        let claims = [1, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff];
        assert!(matches!(
            Wrapped::decode(&claims),
            Err(WrappedError::TooLong { .. })
        ));
        assert_eq!(
            Wrapped::decode(&[1, 2, 0, 0, 0, 0, 0, 0, 0, 0]),
            Err(WrappedError::Reserved(2))
        );
        assert_eq!(
            Wrapped::decode(&[1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0xff]),
            Err(WrappedError::KekId)
        );
    }

    proptest! {
        #[test]
        fn noise_never_panics_and_what_reads_writes_back(
            bytes in proptest::collection::vec(any::<u8>(), 0..64)
        ) {
            if let Ok((wrapped, rest)) = Wrapped::decode(&bytes) {
                let mut out = Vec::new();
                wrapped.encode(&mut out).unwrap();
                prop_assert_eq!(&out[..], &bytes[..bytes.len() - rest.len()]);
            }
        }
    }
}
