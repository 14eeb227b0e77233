//! Why links cannot be had, and why one connection did not become a link.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use super::frame::FrameError;
use super::hello::HelloError;
use crate::cluster::identity::NodeName;
use crate::crypto::CryptoError;
use crate::tls::TlsError;

/// Why links cannot be begun, or their files not be read again.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The files of TLS will not do.
    #[error("the certificates of the peer link will not do")]
    Files(#[from] TlsError),
    /// The certificate is another node's.
    #[error("the certificate {} names {found}, not this node, {me}", path.display())]
    OtherNode {
        /// Where it is.
        path: PathBuf,
        /// What it names.
        found: String,
        /// Who we are.
        me: NodeName,
    },
    /// The certificate is of another authority, or not for both ends of a link.
    #[error("the certificate {} will be refused by every peer: {why}", path.display())]
    Useless {
        /// Where it is.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// The address cannot be listened at.
    #[error("cannot listen at {address} for peers")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The thread cannot be started.
    #[error("cannot start the thread of the peer links")]
    Start(#[source] io::Error),
    /// More peers than are served.
    #[error("{0} peers; at most {most} are served", most = super::PEERS_MAX)]
    TooManyPeers(usize),
    /// No random bytes.
    #[error("the peer links cannot be numbered")]
    Random(#[from] CryptoError),
}

/// Why a connection did not become a link.
#[derive(Debug, thiserror::Error)]
pub enum GreetingError {
    /// The connection broke, or TLS did.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// It took too long.
    #[error("the handshake was not over in time")]
    Late,
    /// The certificate names none of the configured peers.
    #[error("the certificate names {0}, none of the configured peers")]
    Stranger(String),
    /// It does not speak our protocol within TLS.
    #[error("it speaks TLS, but not the protocol of keymoult's peers")]
    Protocol,
    /// The bytes are no frames.
    #[error("{0}")]
    Frame(#[from] FrameError),
    /// Its hello will not do.
    #[error("{0}")]
    Hello(#[from] HelloError),
    /// It said something else than hello.
    #[error("its first frame is not a hello")]
    NoHello,
    /// It refused us.
    #[error("it refused: {0}")]
    Refused(String),
    /// It closed the connection.
    #[error("it closed the connection during the handshake")]
    Closed,
}
