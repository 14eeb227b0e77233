//! Whom we trust when we talk to a keeper, and who we are: certificates and a key from files.
//!
//! Invariants: without `ca` the authorities of the machine count, with it that file's alone; the client's private key comes
//! from a file that nobody but its owner can read, is wiped after use, and no error shows a byte of it; AWS-LC is the only
//! cryptography.

use std::fs::OpenOptions;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use crate::keys::error::KeyError;
use crate::keys::key_file::{Privacy, read_secret};

/// Longest file of certificates that is read, bytes.
const CERTIFICATES_MAX: u64 = 1 << 20;
/// Longest private key, PEM, bytes.
const KEY_MAX: usize = 16 << 10;
/// Where distributions keep the authorities of the machine.
const MACHINES: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem"];

const CA: &str = "CA file";
const CERTIFICATE: &str = "certificate file";
const KEY: &str = "certificate's key file";

/// Which files, all PEM.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// Authorities of the keeper's certificate; those of the machine if none.
    pub ca: Option<PathBuf>,
    /// Our certificate and those up to its authority, and its private key.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// Reads the files and makes a configuration of them, with TLS 1.2 at least.
pub fn client(files: &TlsFiles) -> Result<Arc<ClientConfig>, KeyError> {
    let versions = &[&rustls::version::TLS13, &rustls::version::TLS12];
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(versions);
    let builder = builder.map_err(|_| malformed(CA, Path::new(""), "TLS cannot be set up with it"))?;
    let builder = builder.with_root_certificates(roots(files.ca.as_deref())?);
    let config = match &files.identity {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let chain = certificates(CERTIFICATE, certificate)?;
            builder.with_client_auth_cert(chain, private_key(key)?).map_err(|_| {
                malformed(CERTIFICATE, certificate, "TLS cannot use it together with the key that is named with it")
            })?
        }
    };
    Ok(Arc::new(config))
}

fn roots(ca: Option<&Path>) -> Result<RootCertStore, KeyError> {
    let mut roots = RootCertStore::empty();
    if let Some(path) = ca {
        for certificate in certificates(CA, path)? {
            roots.add(certificate).map_err(|_| malformed(CA, path, "it holds what is no authority's certificate"))?;
        }
        return Ok(roots);
    }
    let machines = MACHINES.iter().map(Path::new).find(|path| path.is_file());
    let Some(path) = machines else {
        let reason = "this machine has none; name the keeper's with ca=FILE";
        return Err(malformed(CA, Path::new(MACHINES[0]), reason));
    };
    // Such a bundle may hold one or the other that this library does not take.
    roots.add_parsable_certificates(certificates(CA, path)?);
    Ok(roots)
}

fn malformed(what: &'static str, path: &Path, reason: &'static str) -> KeyError {
    KeyError::Malformed { what, path: path.to_owned(), reason }
}

fn certificates(what: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, KeyError> {
    let unreadable = |source: std::io::Error| match source.kind() {
        std::io::ErrorKind::NotFound => KeyError::Missing { what, path: path.to_owned() },
        _ => KeyError::Unreadable { what, path: path.to_owned(), source },
    };
    // Without O_NONBLOCK, a pipe at this path would hang the daemon.
    let options = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).to_owned();
    let file = options.open(path).map_err(unreadable)?;
    if !file.metadata().map_err(unreadable)?.is_file() {
        return Err(KeyError::NotFile { what, path: path.to_owned() });
    }
    let mut text = Vec::new();
    file.take(CERTIFICATES_MAX).read_to_end(&mut text).map_err(unreadable)?;
    match CertificateDer::pem_slice_iter(&text).collect::<Result<Vec<_>, _>>() {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err(malformed(what, path, "it holds no certificate in PEM form")),
        Err(_) => Err(malformed(what, path, "it is broken PEM")),
    }
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, KeyError> {
    let text = read_secret(KEY, path, KEY_MAX, Privacy::OfFile)?;
    PrivateKeyDer::from_pem_slice(text.expose())
        .map_err(|_| malformed(KEY, path, "it holds no private key in PEM form without a passphrase"))
}
