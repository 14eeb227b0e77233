//! Whom we believe and who we are: the certificates of the link, from files.
//!
//! Invariants: TLS 1.3 alone, no session resumed, no early data; both ends show a certificate of the one authority, whose purposes
//! name what it is used for; a live link can be judged again by what was read since. Our own certificate is held against the
//! same rules when it is read, so that a mistake shows here and not at the peers; that it has expired is told, not refused,
//! since a node must come up all the same.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::Resumption;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, ServerName, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::SingleCertAndKey;
use rustls::time_provider::TimeProvider;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use super::error::LinkError;
use super::{Clock, LinkFiles};
use crate::cluster::identity::NodeName;
use crate::tls::{ForClients, ForServers, Names, TlsError, chain, ends, identity, malformed, revocation_lists};

/// What is spoken within TLS.
pub const PROTOCOL: &[u8] = b"keymoult-peer";

const AUTHORITY: &str = "authority of the peers";
const REVOKED: &str = "list of revoked peer certificates";

/// What connections that begin now use.
pub struct Trust {
    /// For those that come to us.
    pub server: Arc<ServerConfig>,
    /// For those that we dial.
    pub client: Arc<ClientConfig>,
    clients: Arc<ForClients>,
    servers: Arc<ForServers>,
    /// When our own certificate ends, seconds since 1970.
    pub ends: Option<u64>,
}

/// The names of a peer's certificate that may be those of a node.
pub fn names_of(chain: &[CertificateDer<'_>]) -> Names {
    chain.first().map(Names::of).unwrap_or_default()
}

impl Trust {
    /// Reads the files.
    pub fn load(files: &LinkFiles, me: &NodeName, clock: &Clock) -> Result<Trust, LinkError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let own = identity(&files.certificate, &files.key)?;
        let roots = Arc::new(roots(files)?);
        let lists = files.revoked.as_ref().map(|path| revocation_lists(REVOKED, path)).transpose()?;
        let broken = || match &files.revoked {
            Some(path) => (REVOKED, path.clone()),
            None => (AUTHORITY, files.authority.clone()),
        };
        let judges = |lists| judges(&roots, lists, &provider, broken());
        check_own(files, me, &own.cert, &judges(None)?)?;
        let ends = own.cert.first().and_then(|own| ends(own));
        let (clients, servers) = judges(lists)?;
        let own = Arc::new(SingleCertAndKey::from(own));
        let time = Arc::new(Time(Arc::clone(clock)));
        let versions = &[&rustls::version::TLS13];
        let mut server = ServerConfig::builder_with_details(Arc::clone(&provider), Arc::clone(&time) as Arc<_>)
            .with_protocol_versions(versions)
            .map_err(TlsError::from)?
            .with_client_cert_verifier(Arc::clone(&clients) as Arc<_>)
            .with_cert_resolver(Arc::clone(&own) as Arc<_>);
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.send_tls13_tickets = 0;
        server.alpn_protocols = vec![PROTOCOL.to_vec()];
        let mut client = ClientConfig::builder_with_details(provider, time)
            .with_protocol_versions(versions)
            .map_err(TlsError::from)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(&servers) as Arc<_>)
            .with_client_cert_resolver(own);
        client.resumption = Resumption::disabled();
        client.alpn_protocols = vec![PROTOCOL.to_vec()];
        Ok(Trust { server: Arc::new(server), client: Arc::new(client), clients, servers, ends })
    }

    /// Judges the certificate of a live link anew; says why it is not good any more.
    pub fn judge(&self, chain: &[CertificateDer<'_>], peer: &NodeName, dialled: bool, now: u64) -> Result<(), String> {
        let (own, between) = chain.split_first().ok_or("it has shown no certificate")?;
        let now = UnixTime::since_unix_epoch(Duration::from_secs(now));
        let judged = match dialled {
            true => {
                let name = server_name(peer).ok_or("its name is none of a server")?;
                self.servers.verify_server_cert(own, between, &name, &[], now).map(drop)
            }
            false => self.clients.verify_client_cert(own, between, now).map(drop),
        };
        judged.map_err(|error| error.to_string())
    }
}

/// A node's name as TLS has it.
pub fn server_name(node: &NodeName) -> Option<ServerName<'static>> {
    ServerName::try_from(node.as_str().to_owned()).ok()
}

fn roots(files: &LinkFiles) -> Result<RootCertStore, LinkError> {
    let mut roots = RootCertStore::empty();
    for certificate in chain(AUTHORITY, &files.authority)? {
        roots.add(certificate).map_err(|error| malformed(AUTHORITY, &files.authority, error))?;
    }
    Ok(roots)
}

type Lists = Vec<CertificateRevocationListDer<'static>>;

/// Judges of both ends; `broken` is the file that is to blame if there can be none.
fn judges(
    roots: &Arc<RootCertStore>,
    lists: Option<Lists>,
    provider: &Arc<CryptoProvider>,
    broken: (&'static str, PathBuf),
) -> Result<(Arc<ForClients>, Arc<ForServers>), LinkError> {
    let mut clients = WebPkiClientVerifier::builder_with_provider(Arc::clone(roots), Arc::clone(provider));
    let mut servers = WebPkiServerVerifier::builder_with_provider(Arc::clone(roots), Arc::clone(provider));
    if let Some(lists) = lists {
        clients = clients.with_crls(lists.clone()).only_check_end_entity_revocation();
        servers = servers.with_crls(lists).only_check_end_entity_revocation();
    }
    let refused = |error: &dyn std::fmt::Display| malformed(broken.0, &broken.1, error);
    let clients = clients.build().map_err(|error| refused(&error))?;
    let servers = servers.build().map_err(|error| refused(&error))?;
    Ok((Arc::new(ForClients::new(clients)), Arc::new(ForServers::new(servers))))
}

/// Holds our own certificate against what every peer will ask of it, but for its time.
fn check_own(
    files: &LinkFiles,
    me: &NodeName,
    chain: &[CertificateDer<'_>],
    (clients, servers): &(Arc<ForClients>, Arc<ForServers>),
) -> Result<(), LinkError> {
    let path = || files.certificate.clone();
    let names = names_of(chain);
    if !names.dns().any(|name| name == me.as_str()) {
        return Err(LinkError::OtherNode { path: path(), found: names.to_string(), me: me.clone() });
    }
    let useless = |why: String| LinkError::Useless { path: path(), why };
    let (Some((own, between)), Some(name)) = (chain.split_first(), server_name(me)) else {
        return Err(useless("it holds no certificate".into()));
    };
    let last = ends(own).ok_or_else(|| useless("it does not say when it ends".into()))?;
    let then = UnixTime::since_unix_epoch(Duration::from_secs(last.saturating_sub(1)));
    let as_server = servers.verify_server_cert(own, between, &name, &[], then).map(drop);
    let as_client = || clients.verify_client_cert(own, between, then).map(drop);
    as_server.and_then(|()| as_client()).map_err(|error| useless(error.to_string()))
}

/// The clock by which certificates are judged.
struct Time(Clock);

impl std::fmt::Debug for Time {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the clock of the links")
    }
}

impl TimeProvider for Time {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_secs((self.0)())))
    }
}
