//! From a connection to a peer: TLS with both certificates, then hello and answer.
//!
//! Whoever dials speaks first. Whoever is dialled judges the hello and answers with its own, or with a refusal that names the
//! reason. Invariants: all of it happens under one deadline; before TLS has shown who the other end is, at most [`UNKNOWN_MAX`]
//! bytes are taken from it; a name counts only if certificate, configuration and hello agree on it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustls::CommonState;
use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::timeout;
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use super::error::GreetingError;
use super::frame::{Decoder, Frame, Kind, encode};
use super::hello::{self, Hello, HelloError};
use super::run::Running;
use super::trust::{PROTOCOL, names_of, server_name};
use crate::cluster::identity::NodeName;

/// Most bytes that are taken from somebody whose certificate was not seen yet.
pub const UNKNOWN_MAX: usize = 64 << 10;
/// Bytes taken at a time.
const READ: usize = 4 << 10;

/// A connection whose other end is known.
pub struct Greeted<S> {
    /// The connection.
    pub stream: TlsStream<Counted<S>>,
    /// What is left of what arrived.
    pub decoder: Decoder,
    /// What the other end has said of itself.
    pub hello: Hello,
    /// What it has shown.
    pub chain: Vec<CertificateDer<'static>>,
}

/// Takes a connection of somebody who dialled. The answer is not sent yet.
pub async fn accept<S>(running: &Running, io: S) -> Result<Greeted<S>, GreetingError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let greeting = async {
        let acceptor = TlsAcceptor::from(Arc::clone(&running.trust().server));
        let mut stream = TlsStream::from(acceptor.accept(Counted::new(io)).await?);
        let chain = known(&mut stream)?;
        let names = names_of(&chain);
        if !names.dns().any(|name| running.book().allows(name)) {
            // It is of our authority, so its operator may know why.
            let stranger = GreetingError::Stranger(names.to_string());
            refuse(&mut stream, &stranger.to_string()).await;
            return Err(stranger);
        }
        let mut decoder = Decoder::new();
        let judged = match first(&mut stream, &mut decoder).await? {
            Frame { kind: Kind::Hello, payload } => Hello::decode(&payload),
            _ => return Err(GreetingError::NoHello),
        };
        let may =
            |node: &NodeName| names.dns().any(|name| name == node.as_str()) && running.book().allows(node.as_str());
        match judged.and_then(|hello| judge(running, hello, may)) {
            Ok(hello) => Ok(Greeted { stream, decoder, hello, chain }),
            Err(error) => {
                refuse(&mut stream, &error.to_string()).await;
                Err(error.into())
            }
        }
    };
    timeout(running.times.handshake, greeting).await.map_err(|_| GreetingError::Late)?
}

/// Greets the peer `meant` on a connection to it.
pub async fn dial<S>(running: &Running, io: S, meant: &NodeName) -> Result<Greeted<S>, GreetingError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let connector = TlsConnector::from(Arc::clone(&running.trust().client));
    let name = server_name(meant).ok_or_else(|| GreetingError::Stranger(meant.to_string()))?;
    let mut stream = TlsStream::from(connector.connect(name, Counted::new(io)).await?);
    let chain = known(&mut stream)?;
    stream.write_all(&encode(Kind::Hello, &running.hello().encode())).await?;
    stream.flush().await?;
    let mut decoder = Decoder::new();
    let hello = match first(&mut stream, &mut decoder).await? {
        Frame { kind: Kind::Hello, payload } => Hello::decode(&payload)?,
        Frame { kind: Kind::Refused, payload } => return Err(GreetingError::Refused(hello::shown(&payload))),
        _ => return Err(GreetingError::NoHello),
    };
    let hello = judge(running, hello, |node| node == meant)?;
    Ok(Greeted { stream, decoder, hello, chain })
}

/// Tells the other end why there will be no link; whether it hears it does not matter.
pub async fn refuse<S>(stream: &mut S, why: &str)
where
    S: AsyncWrite + Unpin,
{
    let _ = stream.write_all(&encode(Kind::Refused, &hello::reason(why))).await;
    let _ = stream.shutdown().await;
}

/// TLS is over: what was agreed on, and the certificate that was shown.
fn known<S>(stream: &mut TlsStream<Counted<S>>) -> Result<Vec<CertificateDer<'static>>, GreetingError> {
    let (io, state): (&mut Counted<S>, &CommonState) = match stream {
        TlsStream::Client(stream) => {
            let (io, state) = stream.get_mut();
            (io, state)
        }
        TlsStream::Server(stream) => {
            let (io, state) = stream.get_mut();
            (io, state)
        }
    };
    if state.alpn_protocol() != Some(PROTOCOL) {
        return Err(GreetingError::Protocol);
    }
    let chain = state.peer_certificates().unwrap_or_default();
    io.left = None;
    Ok(chain.iter().map(|certificate| certificate.clone().into_owned()).collect())
}

/// Whether the hello is of our cluster and of a node that may be at this end.
fn judge(running: &Running, hello: Hello, may: impl Fn(&NodeName) -> bool) -> Result<Hello, HelloError> {
    if hello.cluster != running.cluster {
        return Err(HelloError::Cluster { theirs: hello.cluster, ours: running.cluster.clone() });
    }
    match may(&hello.node) {
        true => Ok(hello),
        false => Err(HelloError::Name { theirs: hello.node }),
    }
}

/// The first frame that is not to be skipped.
async fn first<S>(stream: &mut S, decoder: &mut Decoder) -> Result<Frame, GreetingError>
where
    S: AsyncRead + Unpin,
{
    let mut buffer = [0; READ];
    loop {
        match decoder.frame()? {
            Some(Frame { kind: Kind::Skippable, .. }) => {}
            Some(frame) => return Ok(frame),
            None => match stream.read(&mut buffer).await? {
                0 => return Err(GreetingError::Closed),
                count => decoder.put(&buffer[..count]),
            },
        }
    }
}

/// A connection that counts what it takes, until it is told not to.
pub struct Counted<S> {
    io: S,
    left: Option<usize>,
}

impl<S> Counted<S> {
    const fn new(io: S) -> Counted<S> {
        Counted { io, left: Some(UNKNOWN_MAX) }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Counted<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.left == Some(0) {
            return Poll::Ready(Err(io::Error::other("too much was sent before a certificate was shown")));
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(context, buffer))?;
        let taken = buffer.filled().len() - before;
        self.left = self.left.map(|left| left.saturating_sub(taken));
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counted<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}
