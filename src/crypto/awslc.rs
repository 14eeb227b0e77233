//! The fast engine's raw parts: AWS-LC cipher contexts behind a safe face.
//!
//! AES-256 uses `EVP_aes_256_xts`; per data unit only the IV is set and one cipher call made. AWS-LC has no AES-128 in
//! XTS mode, so that suite runs [`xex`] over `EVP_aes_128_ecb`.
//!
//! Invariants:
//! - A [`Context`] always holds a cipher and a key; a call into AWS-LC with lengths this file has checked cannot fail,
//!   and if one did, carrying on would leave plaintext where ciphertext belongs: it panics.
//! - Contexts are used by one thread at a time (`&mut`); making one allocates, using one does not.
//! - The key schedules lie on AWS-LC's heap, which it wipes when it frees; their pages are locked and kept out of dumps.

#![allow(unsafe_code, reason = "AWS-LC is called through its C interface")]

use std::ptr::{self, NonNull};

use aws_lc_sys as lc;

use crate::crypto::error::CryptoError;
use crate::crypto::locked::lock_in_place;
use crate::crypto::secret::Secret;
use crate::crypto::suite::Suite;
use crate::crypto::xex::{self, Block, Ciphers, Direction, Io, Tweaks};

/// One EVP cipher context with its key.
struct Context {
    at: NonNull<lc::EVP_CIPHER_CTX>,
    /// Bytes at the start of the cipher's state that hold key schedules.
    schedules: usize,
}

// SAFETY: an EVP_CIPHER_CTX is plain memory without thread affinity; `Context` is its only owner.
unsafe impl Send for Context {}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: the pointer came from EVP_CIPHER_CTX_new and is freed once, here; AWS-LC wipes the key schedule.
        unsafe { lc::EVP_CIPHER_CTX_free(self.at.as_ptr()) };
    }
}

impl Context {
    fn empty(schedules: usize) -> Option<Context> {
        // SAFETY: takes no arguments; null (out of memory) is handled.
        let at = NonNull::new(unsafe { lc::EVP_CIPHER_CTX_new() })?;
        Some(Context { at, schedules })
    }

    /// A context for `cipher` under `key`, whose length must be the cipher's.
    fn new(
        cipher: *const lc::EVP_CIPHER,
        key: &[u8],
        direction: Direction,
        (name, schedules): (&'static str, usize),
    ) -> Result<Context, CryptoError> {
        let context = Context::empty(schedules).ok_or(CryptoError::Engine(name))?;
        // SAFETY: `cipher` is one of AWS-LC's static ciphers.
        let key_len = unsafe { lc::EVP_CIPHER_key_length(cipher) } as usize;
        if key.len() != key_len {
            return Err(CryptoError::Engine(name));
        }
        let encrypt = i32::from(direction == Direction::Encrypt);
        // SAFETY: the context is ours and empty, `cipher` static, `key` readable for the cipher's key length (checked
        // above), and a null engine and IV are what the function documents as "none".
        let set = unsafe {
            lc::EVP_CipherInit_ex(context.at.as_ptr(), cipher, ptr::null_mut(), key.as_ptr(), ptr::null(), encrypt)
        };
        if set != 1 {
            return Err(CryptoError::Engine(name));
        }
        context.lock();
        Ok(context)
    }

    /// A second context with the same key, or none if memory is short.
    fn duplicate(&self) -> Option<Context> {
        let copy = Context::empty(self.schedules)?;
        // SAFETY: both contexts are live and distinct; the source is only read.
        let copied = unsafe { lc::EVP_CIPHER_CTX_copy(copy.at.as_ptr(), self.at.as_ptr()) };
        if copied != 1 {
            return None;
        }
        copy.lock();
        Some(copy)
    }

    /// Locks the key schedule's pages.
    fn lock(&self) {
        // SAFETY: the context is live and only read.
        let state = unsafe { self.at.as_ref() }.cipher_data;
        if let Some(state) = NonNull::new(state.cast::<u8>()) {
            lock_in_place(state, self.schedules);
        }
    }

    /// Runs one XTS data unit. `from` and `to` are equal or do not overlap.
    ///
    /// # Safety
    /// `from` must be readable and `to` writable for `len` bytes; `self` must be an XTS context.
    #[inline]
    unsafe fn unit(&mut self, tweak: &Block, from: *const u8, to: *mut u8, len: usize) {
        // SAFETY: a null cipher and key keep what is set; the IV is 16 bytes, as XTS reads; -1 keeps the direction.
        let set = unsafe {
            lc::EVP_CipherInit_ex(self.at.as_ptr(), ptr::null(), ptr::null_mut(), ptr::null(), tweak.as_ptr(), -1)
        };
        // SAFETY: the caller vouches for both ranges; XTS writes exactly `len` bytes and allows `from == to`.
        let done = unsafe { lc::EVP_Cipher(self.at.as_ptr(), to, from, len) };
        assert!(set == 1 && done == 1, "AWS-LC refused an XTS data unit of {len} bytes");
    }

    /// Runs ECB in place over whole blocks.
    fn blocks(&mut self, blocks: &mut [u8]) {
        assert!(blocks.len().is_multiple_of(16));
        let at = blocks.as_mut_ptr();
        // SAFETY: in place over one slice of whole blocks; EVP_Cipher with ECB writes as many bytes as it reads.
        let done = unsafe { lc::EVP_Cipher(self.at.as_ptr(), at, at, blocks.len()) };
        assert!(done == 1, "AWS-LC refused {} bytes of ECB", blocks.len());
    }
}

/// For messages, and the key schedules the states of these ciphers begin with.
const XTS: (&str, usize) = ("AES-256-XTS", 2 * size_of::<lc::AES_KEY>());
const ECB: (&str, usize) = ("AES-128-ECB", size_of::<lc::AES_KEY>());

/// The contexts of one XTS key for one thread at a time.
pub(super) enum Contexts {
    /// AES-256: XTS in each direction.
    Aes256 { encrypt: Context256, decrypt: Context256 },
    /// AES-128: ECB in each direction under Key_1, and encrypting under Key_2.
    Aes128 { encrypt: Context128, decrypt: Context128, tweak: Context128 },
}

/// An XTS context.
pub(super) struct Context256(Context);
/// An ECB context.
pub(super) struct Context128(Context);

impl Contexts {
    /// Expands `key`, whose length fits `suite` (one that encrypts).
    pub(super) fn new(suite: Suite, key: &Secret) -> Result<Contexts, CryptoError> {
        let whole = key.expose();
        if suite == Suite::Aes128Xts {
            let (key_1, key_2) = whole.split_at(whole.len() / 2);
            // SAFETY: returns a static table.
            let cipher = unsafe { lc::EVP_aes_128_ecb() };
            let new = |key, way| Context::new(cipher, key, way, ECB).map(Context128);
            return Ok(Contexts::Aes128 {
                encrypt: new(key_1, Direction::Encrypt)?,
                decrypt: new(key_1, Direction::Decrypt)?,
                tweak: new(key_2, Direction::Encrypt)?,
            });
        }
        // SAFETY: returns a static table.
        let cipher = unsafe { lc::EVP_aes_256_xts() };
        let new = |way| Context::new(cipher, whole, way, XTS).map(Context256);
        Ok(Contexts::Aes256 { encrypt: new(Direction::Encrypt)?, decrypt: new(Direction::Decrypt)? })
    }

    /// The same key again, for another thread; none if memory is short.
    pub(super) fn duplicate(&self) -> Option<Contexts> {
        Some(match self {
            Contexts::Aes256 { encrypt, decrypt } => Contexts::Aes256 {
                encrypt: Context256(encrypt.0.duplicate()?),
                decrypt: Context256(decrypt.0.duplicate()?),
            },
            Contexts::Aes128 { encrypt, decrypt, tweak } => Contexts::Aes128 {
                encrypt: Context128(encrypt.0.duplicate()?),
                decrypt: Context128(decrypt.0.duplicate()?),
                tweak: Context128(tweak.0.duplicate()?),
            },
        })
    }

    /// Encrypts or decrypts whole data units of `unit` bytes.
    pub(super) fn crypt(&mut self, way: Direction, tweaks: Tweaks, unit: usize, io: Io<'_>) {
        match (self, way) {
            (Contexts::Aes256 { encrypt, .. }, Direction::Encrypt) => {
                encrypt.units(tweaks, unit, io);
            }
            (Contexts::Aes256 { decrypt, .. }, Direction::Decrypt) => {
                decrypt.units(tweaks, unit, io);
            }
            (Contexts::Aes128 { encrypt, decrypt, tweak }, way) => {
                let data = if way == Direction::Encrypt { encrypt } else { decrypt };
                let place = match io {
                    Io::InPlace(place) => place,
                    Io::To(from, to) => {
                        to.copy_from_slice(from);
                        to
                    }
                };
                xex::crypt(&mut Aes128Ciphers { data, tweak }, tweaks, unit, place);
            }
        }
    }
}

impl Context256 {
    fn units(&mut self, mut tweaks: Tweaks, unit: usize, mut io: Io<'_>) {
        let (from, to, len) = io.places();
        assert!(unit >= 16 && len.is_multiple_of(unit));
        let mut done = 0;
        while done < len {
            let tweak = tweaks.next();
            // SAFETY: `done + unit <= len` because `unit` divides `len` (asserted), so both ranges lie inside the
            // slices of `io`, which stay borrowed; they are the same slice or, being `&` and `&mut`, disjoint.
            unsafe { self.0.unit(&tweak, from.add(done), to.add(done), unit) };
            done += unit;
        }
    }
}

struct Aes128Ciphers<'a> {
    data: &'a mut Context128,
    tweak: &'a mut Context128,
}

impl Ciphers for Aes128Ciphers<'_> {
    fn data(&mut self, blocks: &mut [u8]) {
        self.data.0.blocks(blocks);
    }

    fn tweak(&mut self, blocks: &mut [Block]) {
        self.tweak.0.blocks(blocks.as_flattened_mut());
    }
}
