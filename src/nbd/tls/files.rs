//! Reads the files TLS needs: the server's certificate chain and key, and what client certificates are judged by.
//!
//! Invariants: all files are read and found to fit together before any of it is used; a private key comes from a regular
//! file closed to everybody but its owner, asked of the open file and not of the path; the text of the key and what was
//! decoded of it are wiped, and no error shows a byte of any file.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SigningKey, SingleCertAndKey};
use rustls::{RootCertStore, ServerConfig};
use zeroize::{Zeroize, Zeroizing};

use super::verify::ForClients;

/// Longest file that is read, bytes.
const FILE_MAX: u64 = 1 << 20;

/// Which files to use, all PEM.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Files {
    /// The server's certificate, then those between it and its authority.
    pub certificate: PathBuf,
    /// The private key of the first of them.
    pub key: PathBuf,
    /// Authorities of client certificates; with one, every client needs a certificate.
    pub client_ca: Option<PathBuf>,
    /// Revocation lists of those authorities: client certificates on them are refused.
    pub client_crl: Option<PathBuf>,
}

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

const CERTIFICATE: &str = "TLS certificate";
const KEY: &str = "TLS key";
const CLIENT_CA: &str = "TLS client CA";
const CLIENT_CRL: &str = "TLS client CRL";

impl Files {
    /// Reads them and makes a configuration for new connections.
    pub fn load(&self) -> Result<Arc<ServerConfig>, TlsError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let identity = Arc::new(SingleCertAndKey::from(self.identity()?));
        let versions = &[&rustls::version::TLS13, &rustls::version::TLS12];
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider)).with_protocol_versions(versions)?;
        let mut config = match &self.client_ca {
            None => builder.with_no_client_auth().with_cert_resolver(identity),
            Some(path) => {
                let verifier = self.verifier(path, provider)?;
                builder.with_client_cert_verifier(verifier).with_cert_resolver(identity)
            }
        };
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Arc::new(config))
    }

    fn identity(&self) -> Result<CertifiedKey, TlsError> {
        let chain = certificates(CERTIFICATE, &self.certificate)?;
        let identity = CertifiedKey::new(chain, signing_key(&self.key)?);
        match identity.keys_match() {
            Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => Ok(identity),
            Err(rustls::Error::InconsistentKeys(_)) => {
                Err(TlsError::Mismatch { key: self.key.clone(), certificate: self.certificate.clone() })
            }
            Err(error) => Err(malformed(CERTIFICATE, &self.certificate, error)),
        }
    }

    fn verifier(&self, path: &Path, provider: Arc<CryptoProvider>) -> Result<Arc<ForClients>, TlsError> {
        let mut roots = RootCertStore::empty();
        for certificate in certificates(CLIENT_CA, path)? {
            roots.add(certificate).map_err(|error| malformed(CLIENT_CA, path, error))?;
        }
        let mut builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        if let Some(path) = &self.client_crl {
            let lists = items::<CertificateRevocationListDer<'static>>(CLIENT_CRL, path, "revocation list")?;
            builder = builder.with_crls(lists).only_check_end_entity_revocation();
        }
        let broken = self.client_crl.as_ref().map_or((CLIENT_CA, path), |path| (CLIENT_CRL, path));
        let chain = builder.build().map_err(|error| malformed(broken.0, broken.1, error))?;
        Ok(Arc::new(ForClients::new(chain)))
    }
}

fn malformed(what: &'static str, path: &Path, why: impl ToString) -> TlsError {
    TlsError::Malformed { what, path: path.to_owned(), why: why.to_string() }
}

fn certificates(what: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    items(what, path, "certificate")
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
