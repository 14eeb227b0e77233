//! Links over real TLS between nodes of one process, what hostile peers come by, and what a link does while time passes.

mod hostile;
mod linked;
mod passing;
mod trusted;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::frame::{Decoder, Frame, Kind, encode};
use super::hello::VERSIONS;
use super::*;
use crate::tls::certificates::{Authority, Identity, Says, write};

/// A test gives up after so long; nothing is to take a tenth of it.
const PATIENCE: Duration = Duration::from_secs(40);
/// A time at which certificates of tests are good: 2020-06-01. Those that are `expired` are good then, too.
const THEN: u64 = 1_590_969_600;
/// A time at which those have expired: 2022-01-01.
const LATER: u64 = 1_640_995_200;

fn name(text: &str) -> NodeName {
    text.parse().unwrap()
}

fn times() -> Times {
    Times {
        handshake: Duration::from_secs(20),
        ping: Duration::from_millis(50),
        silence: Duration::from_secs(30),
        wait_least: Duration::from_millis(20),
        wait_most: Duration::from_millis(300),
        steady: Duration::from_secs(1),
    }
}

/// What a certificate of a node says.
fn node<'a>(names: &'a [&'a str]) -> Says<'a> {
    Says { common: "a node", names, for_servers: true, for_clients: true, ..Says::default() }
}

/// An authority, and a folder for the files of its nodes.
struct Pki {
    authority: Authority,
    folder: tempfile::TempDir,
}

impl Pki {
    fn new() -> Pki {
        Pki { authority: Authority::new("authority"), folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Files of `owner` with a certificate that says this.
    fn files(&self, owner: &str, says: Says<'_>) -> LinkFiles {
        let identity = self.authority.issue(says);
        LinkFiles {
            certificate: write(self.path(), &format!("{owner}.crt"), &identity.certificate),
            key: write(self.path(), &format!("{owner}.key"), &identity.key),
            authority: write(self.path(), "ca.crt", &self.authority.pem),
            revoked: None,
        }
    }

    /// What node `me` is begun with; it listens on some port and knows nobody.
    fn config(&self, me: &str) -> LinkConfig {
        LinkConfig {
            me: name(me),
            cluster: "lab".into(),
            listen: "127.0.0.1:0".parse().unwrap(),
            files: self.files(me, node(&[me])),
            peers: Vec::new(),
            capabilities: Capabilities { software: "0.1.0".into(), suites: vec![1, 2], volumes: 64 },
        }
    }

    /// A node that is up.
    fn node(&self, me: &str) -> Node {
        Node::new(self.config(me))
    }

    /// A client's view of TLS, with the certificate of `identity`.
    fn client(&self, identity: Option<&Identity>, version: &'static rustls::SupportedProtocolVersion) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.authority.pem.as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[version]).unwrap();
        let builder = builder.with_root_certificates(roots);
        let mut config = match identity {
            None => builder.with_no_client_auth(),
            Some(identity) => {
                let chain = vec![CertificateDer::from_pem_slice(identity.certificate.as_bytes()).unwrap()];
                let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).unwrap();
                builder.with_client_auth_cert(chain, key).unwrap()
            }
        };
        config.alpn_protocols = vec![trust::PROTOCOL.to_vec()];
        config
    }
}

/// What a driver hears.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Heard {
    Up(String),
    Frame(String, Vec<u8>),
    Down(String, String),
}

#[derive(Default)]
struct Ears {
    heard: Mutex<Vec<Heard>>,
    more: Condvar,
}

impl Ears {
    fn put(&self, heard: Heard) {
        self.heard.lock().unwrap().push(heard);
        self.more.notify_all();
    }

    fn heard(&self) -> Vec<Heard> {
        self.heard.lock().unwrap().clone()
    }

    /// Waits until what was heard is enough.
    fn wait(&self, what: &str, enough: impl Fn(&[Heard]) -> bool) {
        let heard = self.heard.lock().unwrap();
        let (heard, waited) = self.more.wait_timeout_while(heard, PATIENCE, |heard| !enough(heard)).unwrap();
        assert!(!waited.timed_out(), "waited for {what} in vain; heard {heard:?}");
    }
}

impl Incoming for Ears {
    fn up(&self, peer: &NodeName, _: &Hello) {
        self.put(Heard::Up(peer.to_string()));
    }

    fn frame(&self, from: &NodeName, payload: Vec<u8>) {
        self.put(Heard::Frame(from.to_string(), payload));
    }

    fn down(&self, peer: &NodeName, why: &str) {
        self.put(Heard::Down(peer.to_string(), why.to_owned()));
    }
}

/// A node with its links, and what it has heard.
struct Node {
    links: Links,
    ears: Arc<Ears>,
    /// Its clock, seconds since 1970.
    time: Arc<AtomicU64>,
}

impl Node {
    fn new(config: LinkConfig) -> Node {
        Node::with(config, times())
    }

    fn with(config: LinkConfig, times: Times) -> Node {
        let (ears, time) = (Arc::new(Ears::default()), Arc::new(AtomicU64::new(THEN)));
        let clock = Arc::clone(&time);
        let clock: Clock = Arc::new(move || clock.load(Ordering::SeqCst));
        let links = Links::start_with(config, Arc::clone(&ears) as Arc<dyn Incoming>, times, clock).unwrap();
        Node { links, ears, time }
    }

    fn address(&self) -> SocketAddr {
        self.links.address()
    }

    /// It shall know these peers from now on.
    fn knows(&self, peers: &[(&str, SocketAddr)]) {
        let peers = peers.iter().map(|(peer, address)| PeerAddress { name: name(peer), address: address.to_string() });
        self.links.set_peers(peers.collect());
    }

    fn state(&self, peer: &str) -> PeerState {
        self.links.peers().into_iter().find(|state| state.name == name(peer)).unwrap()
    }

    fn waits_for_up(&self, peer: &str) {
        self.ears.wait("a link", |heard| {
            let last = heard.iter().rev().find(|heard| matches!(heard, Heard::Up(_) | Heard::Down(..)));
            last == Some(&Heard::Up(peer.into()))
        });
    }

    /// Waits for the end of a link; the reason.
    fn waits_for_down(&self, peer: &str) -> String {
        let is_it = |heard: &Heard| matches!(heard, Heard::Down(of, _) if of == peer);
        self.ears.wait("the end of a link", |heard| heard.iter().any(is_it));
        let heard = self.ears.heard();
        heard.into_iter().find_map(|heard| if let Heard::Down(_, why) = heard { Some(why) } else { None }).unwrap()
    }

    /// Waits until the last error about `peer` says this.
    fn waits_for_error(&self, peer: &str, says: &str) {
        let began = std::time::Instant::now();
        loop {
            let last = self.state(peer).last_error;
            if last.as_ref().is_some_and(|last| last.contains(says)) {
                return;
            }
            assert!(began.elapsed() < PATIENCE, "waited for `{says}` in vain; the last error is {last:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn frames(&self) -> Vec<Vec<u8>> {
        let heard = self.ears.heard().into_iter();
        heard.filter_map(|heard| if let Heard::Frame(_, payload) = heard { Some(payload) } else { None }).collect()
    }

    fn was_up(&self) -> bool {
        self.ears.heard().iter().any(|heard| matches!(heard, Heard::Up(_)))
    }
}

/// Nodes `a` and `b` that know each other.
fn pair(pki: &Pki) -> (Node, Node) {
    let (a, b) = (pki.node("a"), pki.node("b"));
    a.knows(&[("b", b.address())]);
    b.knows(&[("a", a.address())]);
    a.waits_for_up("b");
    b.waits_for_up("a");
    (a, b)
}

/// A peer made by hand: TLS, and then whatever the test sends.
struct Raw {
    stream: StreamOwned<ClientConnection, TcpStream>,
    decoder: Decoder,
}

impl Raw {
    /// Dials the node `meant`.
    fn dial(address: SocketAddr, config: ClientConfig, meant: &str) -> std::io::Result<Raw> {
        let server = ServerName::try_from(meant.to_owned()).unwrap();
        let connection = ClientConnection::new(Arc::new(config), server).unwrap();
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut stream = StreamOwned::new(connection, stream);
        stream.flush()?;
        while stream.conn.is_handshaking() {
            let (connection, socket) = (&mut stream.conn, &mut stream.sock);
            connection.complete_io(socket)?;
        }
        Ok(Raw { stream, decoder: Decoder::new() })
    }

    fn send(&mut self, bytes: &[u8]) {
        // The other end may have gone already.
        let _ = self.stream.write_all(bytes).and_then(|()| self.stream.flush());
    }

    /// The next frame; none when the connection is over.
    fn receive(&mut self) -> Option<Frame> {
        let mut buffer = [0; 4096];
        loop {
            if let Some(frame) = self.decoder.frame().unwrap() {
                return Some(frame);
            }
            match self.stream.read(&mut buffer) {
                Ok(0) | Err(_) => return None,
                Ok(count) => self.decoder.put(&buffer[..count]),
            }
        }
    }
}

/// The hello of `me`.
fn hello(me: &str) -> Hello {
    Hello {
        versions: VERSIONS,
        node: name(me),
        cluster: "lab".into(),
        capabilities: Capabilities::default(),
        frame_max: FRAME_MAX as u32,
        session: [7; 16],
    }
}
