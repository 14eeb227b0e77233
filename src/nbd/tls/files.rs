//! What NBD over TLS is made of: the server's certificate chain and key, and what client certificates are judged by.
//!
//! Invariant: all files are read and found to fit together before any of it is used.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::SingleCertAndKey;
use rustls::{RootCertStore, ServerConfig};

use crate::tls::{ForClients, TlsError, chain, identity, malformed, revocation_lists};

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

const CLIENT_CA: &str = "TLS client CA";
const CLIENT_CRL: &str = "TLS client CRL";

impl Files {
    /// Reads them and makes a configuration for new connections.
    pub fn load(&self) -> Result<Arc<ServerConfig>, TlsError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let own = Arc::new(SingleCertAndKey::from(identity(&self.certificate, &self.key)?));
        let versions = &[&rustls::version::TLS13, &rustls::version::TLS12];
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider)).with_protocol_versions(versions)?;
        let mut config = match &self.client_ca {
            None => builder.with_no_client_auth().with_cert_resolver(own),
            Some(path) => {
                let verifier = self.verifier(path, provider)?;
                builder.with_client_cert_verifier(verifier).with_cert_resolver(own)
            }
        };
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Arc::new(config))
    }

    fn verifier(&self, path: &Path, provider: Arc<CryptoProvider>) -> Result<Arc<ForClients>, TlsError> {
        let mut roots = RootCertStore::empty();
        for certificate in chain(CLIENT_CA, path)? {
            roots.add(certificate).map_err(|error| malformed(CLIENT_CA, path, error))?;
        }
        let mut builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        if let Some(path) = &self.client_crl {
            let lists = revocation_lists(CLIENT_CRL, path)?;
            builder = builder.with_crls(lists).only_check_end_entity_revocation();
        }
        let broken = self.client_crl.as_ref().map_or((CLIENT_CA, path), |path| (CLIENT_CRL, path));
        let judge = builder.build().map_err(|error| malformed(broken.0, broken.1, error))?;
        Ok(Arc::new(ForClients::new(judge)))
    }
}
