//! Reads the files TLS is made of, all PEM: certificate chains, private keys, revocation lists.
//!
//! Invariants: a private key comes from a regular file closed to everybody but its owner, asked of the open file and not of
//! the path; the text of the key and what was decoded of it are wiped, and no error shows a byte of any file.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SigningKey};
use zeroize::{Zeroize, Zeroizing};

/// Longest file that is read, bytes.
const FILE_MAX: u64 = 1 << 20;

const CERTIFICATE: &str = "TLS certificate";
const KEY: &str = "TLS key";

/// Why TLS cannot be had from the files.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "`what` is the kind of file, `path` where it is")]
pub enum TlsError {
    /// It cannot be read.
    #[error("cannot read the {what} {}", path.display())]
    Unreadable { what: &'static str, path: PathBuf, source: io::Error },
    /// It is no file of a sensible length.
    #[error("the {what} {} is not a regular file of at most {FILE_MAX} bytes", path.display())]
    NotAFile { what: &'static str, path: PathBuf },
    /// Others than its owner can read the private key.
    #[error("the TLS key {}: its mode {mode:04o} lets others than its owner at it", path.display())]
    Exposed { path: PathBuf, mode: u32 },
    /// It does not hold what it should.
    #[error("the {what} {}: {why}", path.display())]
    Malformed { what: &'static str, path: PathBuf, why: String },
    /// The key is another certificate's.
    #[error("the TLS key {} is not that of the certificate {}", key.display(), certificate.display())]
    Mismatch { key: PathBuf, certificate: PathBuf },
    /// The library refused them together.
    #[error("TLS cannot be set up")]
    Refused(#[from] rustls::Error),
}

/// The certificate chain and private key of one end, which fit together.
///
/// # Errors
/// One of the files will not do, or the key is another certificate's.
pub fn identity(certificate: &Path, key: &Path) -> Result<CertifiedKey, TlsError> {
    let identity = CertifiedKey::new(chain(CERTIFICATE, certificate)?, signing_key(key)?);
    match identity.keys_match() {
        Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => Ok(identity),
        Err(rustls::Error::InconsistentKeys(_)) => {
            Err(TlsError::Mismatch { key: key.to_owned(), certificate: certificate.to_owned() })
        }
        Err(error) => Err(malformed(CERTIFICATE, certificate, error)),
    }
}

/// Says what is wrong with a file, which messages call `what`.
pub fn malformed(what: &'static str, path: &Path, why: impl ToString) -> TlsError {
    TlsError::Malformed { what, path: path.to_owned(), why: why.to_string() }
}

/// All certificates of a file; at least one.
///
/// # Errors
/// There are none, or it cannot be read.
pub fn chain(what: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    items(what, path, "certificate")
}

/// All revocation lists of a file; at least one.
///
/// # Errors
/// There are none, or it cannot be read.
pub fn revocation_lists(
    what: &'static str,
    path: &Path,
) -> Result<Vec<CertificateRevocationListDer<'static>>, TlsError> {
    items(what, path, "revocation list")
}

/// Everything of one kind in a PEM file; at least one.
fn items<T: PemObject>(what: &'static str, path: &Path, kind: &str) -> Result<Vec<T>, TlsError> {
    let text = read(what, path, open(what, path)?)?;
    let items = T::pem_slice_iter(&text).collect::<Result<Vec<T>, pem::Error>>();
    match items {
        Ok(items) if items.is_empty() => Err(malformed(what, path, format!("it holds no {kind} in PEM form"))),
        Ok(items) => Ok(items),
        Err(_) => Err(malformed(what, path, NO_PEM)),
    }
}

/// What is said of a file that looks like PEM and is not; the details could show what is in it.
const NO_PEM: &str = "it is broken PEM";

fn signing_key(path: &Path) -> Result<Arc<dyn SigningKey>, TlsError> {
    let file = open(KEY, path)?;
    let mode = file.metadata().map_err(|source| unreadable(KEY, path, source))?.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(TlsError::Exposed { path: path.to_owned(), mode });
    }
    let text = read(KEY, path, file)?;
    let mut key = PrivateKeyDer::from_pem_slice(&text).map_err(|error| match error {
        pem::Error::NoItemsFound => malformed(KEY, path, "it holds no private key in PEM form without a passphrase"),
        _ => malformed(KEY, path, NO_PEM),
    })?;
    let made = aws_lc_rs::sign::any_supported_type(&key);
    key.zeroize();
    made.map_err(|_| malformed(KEY, path, "TLS cannot use it: it is to be RSA of 2048 bits or more, ECDSA, or Ed25519"))
}

fn unreadable(what: &'static str, path: &Path, source: io::Error) -> TlsError {
    TlsError::Unreadable { what, path: path.to_owned(), source }
}

/// Opens a regular file of a sensible length.
fn open(what: &'static str, path: &Path) -> Result<File, TlsError> {
    // Without O_NONBLOCK, a pipe at this path would hang the daemon.
    let options = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).to_owned();
    let file = options.open(path).map_err(|source| unreadable(what, path, source))?;
    let found = file.metadata().map_err(|source| unreadable(what, path, source))?;
    match found.is_file() && found.len() <= FILE_MAX {
        true => Ok(file),
        false => Err(TlsError::NotAFile { what, path: path.to_owned() }),
    }
}

/// The text of an open file, wiped when dropped. The buffer has room for all of it from the start, so that no copy stays
/// behind where it grew.
fn read(what: &'static str, path: &Path, file: File) -> Result<Zeroizing<Vec<u8>>, TlsError> {
    let mut text = Zeroizing::new(Vec::with_capacity(FILE_MAX as usize));
    file.take(FILE_MAX).read_to_end(&mut text).map_err(|source| unreadable(what, path, source))?;
    Ok(text)
}
