//! Keys from keys (HKDF-SHA256, RFC 5869) and from passphrases (Argon2id, RFC 9106).
//!
//! Invariants: Argon2 parameters are checked against the floor and the cap before anything is allocated or computed,
//! because they are read from a place nobody has authenticated yet; derived keys are born in locked memory. Argon2's
//! own working memory (megabytes) is ordinary memory, wiped before it is freed.

use argon2::{Algorithm, Argon2, Block, Params, Version};
use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::Zeroize;

use crate::crypto::error::CryptoError;
use crate::crypto::scrub::scrub_stack;
use crate::crypto::secret::Secret;

/// Length of an Argon2id salt, bytes.
pub const SALT_LEN: usize = 16;
/// Length of a key derived from a passphrase, bytes.
pub const PASSPHRASE_KEY_LEN: usize = 32;
/// The most that HKDF-SHA256 gives, bytes (RFC 5869 §2.3).
pub const DERIVE_MAX: usize = 255 * 32;

/// Least memory, KiB: 19 MiB.
pub const M_KIB_MIN: u32 = 19 << 10;
/// Most memory, KiB: 1 GiB.
pub const M_KIB_MAX: u32 = 1 << 20;
/// Fewest passes.
pub const T_MIN: u32 = 2;
/// Most passes.
pub const T_MAX: u32 = 32;
/// Fewest lanes.
pub const P_MIN: u32 = 1;
/// Most lanes.
pub const P_MAX: u32 = 16;
/// Most work, KiB times passes: 4 GiB touched, some seconds.
pub const WORK_MAX: u64 = 4 << 20;

/// The price of one guess at a passphrase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Argon2Params {
    /// Memory, KiB.
    pub m_kib: u32,
    /// Passes.
    pub t: u32,
    /// Lanes.
    pub p: u32,
}

impl Argon2Params {
    /// What new passphrase KEKs use: the second recommended option of RFC 9106 §4 (64 MiB, 3 passes, 4 lanes).
    pub const DEFAULT: Argon2Params = Argon2Params { m_kib: 64 << 10, t: 3, p: 4 };

    /// Refuses parameters below the floor or above the cap.
    pub fn check(self) -> Result<(), CryptoError> {
        let within = |name, found: u64, least: u64, most: u64| {
            if (least..=most).contains(&found) {
                Ok(())
            } else {
                Err(CryptoError::Argon2Bounds { name, found, least, most })
            }
        };
        within("m (KiB)", self.m_kib.into(), M_KIB_MIN.into(), M_KIB_MAX.into())?;
        within("t (passes)", self.t.into(), T_MIN.into(), T_MAX.into())?;
        within("p (lanes)", self.p.into(), P_MIN.into(), P_MAX.into())?;
        let work = u64::from(self.m_kib) * u64::from(self.t);
        within("m × t (KiB × passes)", work, 0, WORK_MAX)
    }
}

const _: () = assert!(
    Argon2Params::DEFAULT.m_kib >= M_KIB_MIN
        && Argon2Params::DEFAULT.m_kib as u64 * Argon2Params::DEFAULT.t as u64 <= WORK_MAX
);
const _: () = assert!(M_KIB_MIN >= 8 * P_MAX, "RFC 9106 §3.1 wants 8 KiB per lane");

/// `len` bytes derived from `key` for the purpose `info` names.
///
/// # Panics
/// If `len` exceeds [`DERIVE_MAX`].
pub fn derive(key: &Secret, salt: &[u8], info: &[u8], len: usize) -> Secret {
    assert!(len <= DERIVE_MAX, "HKDF-SHA256 gives at most {DERIVE_MAX} bytes");
    let derived = Secret::filled(len, |out| expand(key, salt, info, out));
    scrub_stack();
    derived
}

#[inline(never)]
fn expand(key: &Secret, salt: &[u8], info: &[u8], out: &mut [u8]) {
    let hkdf = Hkdf::<Sha256>::new(Some(salt), key.expose());
    if hkdf.expand(info, out).is_err() {
        unreachable!("the length was checked");
    }
}

/// The 32-byte key of a passphrase. Takes as long as `params` ask for: tenths of a second by default.
///
/// # Errors
/// Parameters outside the bounds (found before any work), or no memory for them.
pub fn passphrase(passphrase: &Secret, salt: &[u8; SALT_LEN], params: Argon2Params) -> Result<Secret, CryptoError> {
    params.check()?;
    let argon2 = Params::new(params.m_kib, params.t, params.p, Some(PASSPHRASE_KEY_LEN))
        .map(|params| Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
        .map_err(CryptoError::Argon2)?;
    let mut memory = working_memory(argon2.params().block_count())?;
    let key = Secret::try_filled(PASSPHRASE_KEY_LEN, |out| {
        argon2.hash_password_into_with_memory(passphrase.expose(), salt, out, &mut memory)
    });
    memory.zeroize();
    scrub_stack();
    key.map_err(CryptoError::Argon2)
}

fn working_memory(blocks: usize) -> Result<Vec<Block>, CryptoError> {
    let mut memory = Vec::new();
    memory.try_reserve_exact(blocks).map_err(|_| CryptoError::Argon2(argon2::Error::OutOfMemory))?;
    memory.resize(blocks, Block::new());
    Ok(memory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn derivation_depends_on_key_salt_and_info() {
        let key = Secret::filled(32, |bytes| bytes.fill(1));
        let base = derive(&key, b"salt", b"info", 32);
        assert!(base.ct_eq(&derive(&key, b"salt", b"info", 32)));
        assert!(!base.ct_eq(&derive(&key, b"salu", b"info", 32)));
        assert!(!base.ct_eq(&derive(&key, b"salt", b"inf", 32)));
        assert!(!base.ct_eq(&derive(&Secret::zeroed(32), b"salt", b"info", 32)));
        assert_eq!(derive(&key, b"salt", b"info", 192).expose()[..32], *base.expose());
    }

    #[test]
    fn parameters_out_of_bounds_are_named() {
        let params = Argon2Params { m_kib: u32::MAX, ..Argon2Params::DEFAULT };
        let error = passphrase(&Secret::zeroed(8), &[0; 16], params).err().unwrap();
        assert_eq!(error.to_string(), "Argon2id parameter m (KiB) is 4294967295, allowed are 19456 to 1048576");
        for (m_kib, t, p) in [(8, 3, 4), (65536, 1, 4), (65536, 33, 4), (65536, 3, 0), (65536, 3, 17), (1 << 20, 5, 4)]
        {
            let refused = Argon2Params { m_kib, t, p };
            assert!(refused.check().is_err(), "{refused:?}");
        }
        for (m_kib, t, p) in [(M_KIB_MIN, T_MIN, P_MIN), (M_KIB_MAX, 4, P_MAX)] {
            Argon2Params { m_kib, t, p }.check().unwrap();
        }
    }

    #[test]
    fn a_passphrase_key_is_what_argon2id_says() {
        // Not a published vector (those have 8-byte salts): agreement with the crate's plain interface, whose answers
        // the self-test compares with RFC 9106.
        let params = Argon2Params { m_kib: M_KIB_MIN, t: T_MIN, p: 2 };
        let pass = Secret::filled(6, |bytes| bytes.copy_from_slice(b"secret"));
        let key = passphrase(&pass, b"0123456789abcdef", params).unwrap();
        let plain = Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::new(M_KIB_MIN, T_MIN, 2, None).unwrap());
        let mut expected = [0; 32];
        plain.hash_password_into(b"secret", b"0123456789abcdef", &mut expected).unwrap();
        assert_eq!(key.expose(), expected);
    }
}
