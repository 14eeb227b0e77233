//! Both ends of TLS for tests: an authority, a server's files, clients of either version; and a client that seals records of
//! its own, with what no library would send.

use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use rustls::crypto::{CryptoProvider, aws_lc_rs as provider};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ClientConnection, ConnectionTrafficSecrets, RootCertStore, ServerConfig};

use super::super::tls::{Files, Keeper};
use super::certificates::{Authority, Identity, Says, write};

pub type Version = &'static rustls::SupportedProtocolVersion;
pub const VERSIONS: [Version; 2] = [&TLS12, &TLS13];

/// An authority, and a folder with the files of a server it vouches for.
pub struct Pki {
    pub authority: Authority,
    pub folder: tempfile::TempDir,
    pub files: Files,
}

impl Pki {
    pub fn new() -> Pki {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::new("authority");
        let server = authority.issue(Says::server());
        let files = Files {
            certificate: write(folder.path(), "certificate", &server.certificate),
            key: write(folder.path(), "key", &server.key),
            client_ca: None,
            client_crl: None,
        };
        Pki { authority, folder, files }
    }

    /// From now on clients need certificates.
    pub fn with_clients(mut self) -> Pki {
        self.files.client_ca = Some(write(self.folder.path(), "ca", &self.authority.pem));
        self
    }

    pub fn server(&self) -> Arc<ServerConfig> {
        self.files.load().unwrap()
    }

    pub fn keeper(&self) -> Option<Arc<Keeper>> {
        Some(Arc::new(Keeper::new(self.server())))
    }

    /// A client that trusts the authority, without a certificate of its own.
    pub fn anonymous(&self, version: Version) -> Arc<ClientConfig> {
        self.client(version, None)
    }

    pub fn client(&self, version: Version, identity: Option<&Identity>) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.authority.pem.as_bytes()).unwrap()).unwrap();
        // The forger knows one cipher.
        let suites = vec![
            provider::cipher_suite::TLS13_AES_256_GCM_SHA384,
            provider::cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        ];
        let provider = CryptoProvider { cipher_suites: suites, ..provider::default_provider() };
        let builder =
            ClientConfig::builder_with_provider(Arc::new(provider)).with_protocol_versions(&[version]).unwrap();
        let builder = builder.with_root_certificates(roots);
        let mut config = match identity {
            None => builder.with_no_client_auth(),
            Some(identity) => {
                let chain = vec![CertificateDer::from_pem_slice(identity.certificate.as_bytes()).unwrap()];
                let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).unwrap();
                builder.with_client_auth_cert(chain, key).unwrap()
            }
        };
        config.enable_secret_extraction = true;
        Arc::new(config)
    }
}

pub const ALERT: u8 = 21;
pub const HANDSHAKE: u8 = 22;
pub const DATA: u8 = 23;

/// Seals records with the keys of a client whose handshake is over.
pub struct Forger {
    key: LessSafeKey,
    iv: [u8; 12],
    sequence: u64,
    is_13: bool,
}

impl Forger {
    pub fn new(client: ClientConnection) -> Forger {
        let is_13 = client.protocol_version() == Some(rustls::ProtocolVersion::TLSv1_3);
        let (sequence, secrets) = client.dangerous_extract_secrets().unwrap().tx;
        let ConnectionTrafficSecrets::Aes256Gcm { key, iv } = secrets else { panic!("another cipher") };
        let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key.as_ref()).unwrap());
        Forger { key, iv: iv.as_ref().try_into().unwrap(), sequence, is_13 }
    }

    /// The bytes of a record of that kind.
    pub fn seal(&mut self, kind: u8, plain: &[u8]) -> Vec<u8> {
        let mut nonce = self.iv;
        let sequence = self.sequence.to_be_bytes();
        nonce[4..].iter_mut().zip(sequence).for_each(|(byte, other)| *byte ^= other);
        self.sequence += 1;
        let mut body = plain.to_vec();
        let header = |kind: u8, len: usize| [kind, 3, 3, (len >> 8) as u8, len as u8];
        if self.is_13 {
            body.push(kind);
            let header = header(DATA, body.len() + 16);
            self.key
                .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(header), &mut body)
                .unwrap();
            return [&header[..], &body].concat();
        }
        let aad = [&sequence[..], &header(kind, body.len())].concat();
        self.key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(aad), &mut body).unwrap();
        [&header(kind, body.len() + 8)[..], &nonce[4..], &body].concat()
    }
}
