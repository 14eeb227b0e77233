//! One connection to a keeper, plain or TLS; every step of it under one deadline.
//!
//! Invariants: a read or write never waits beyond the deadline, whatever the peer does or fails to do; a name is resolved
//! beside, and given up at the deadline too; the buffers of this file hold ciphertext alone, unless the connection is plain.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use super::address::Address;
use super::error::NetError;

/// Longest one address may take to accept, so that a dead one leaves time for the next.
const CONNECT_MAX: Duration = Duration::from_secs(4);

/// When a request must be over.
#[derive(Clone, Copy, Debug)]
pub struct Deadline(Instant);

impl Deadline {
    /// So long from now.
    pub fn after(time: Duration) -> Deadline {
        Deadline(Instant::now() + time)
    }

    /// What is left of it; never nothing.
    fn left(self) -> io::Result<Duration> {
        let left = self.0.saturating_duration_since(Instant::now());
        // A socket takes no time limit of zero: it would be none.
        if left < Duration::from_millis(1) { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
    }
}

/// A TCP connection under a deadline.
struct Timed {
    tcp: TcpStream,
    deadline: Deadline,
}

impl Read for Timed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.tcp.set_read_timeout(Some(self.deadline.left()?))?;
        self.tcp.read(buffer)
    }
}

impl Write for Timed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.tcp.set_write_timeout(Some(self.deadline.left()?))?;
        self.tcp.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.tcp.flush()
    }
}

enum Flow {
    Plain(Timed),
    Tls(Box<StreamOwned<ClientConnection, Timed>>),
}

/// A connection to a keeper.
pub struct Connection(Flow);

impl Connection {
    /// Connects, and shakes hands if there is a `tls` to do it by.
    pub fn open(
        address: &Address,
        tls: Option<&Arc<ClientConfig>>,
        deadline: Deadline,
    ) -> Result<Connection, NetError> {
        let mut timed = Timed { tcp: connect(address, deadline)?, deadline };
        let Some(config) = tls else { return Ok(Connection(Flow::Plain(timed))) };
        let name = ServerName::try_from(address.host.clone())
            .map_err(|error| NetError::Resolve(io::Error::new(io::ErrorKind::InvalidInput, error)))?;
        let mut connection = ClientConnection::new(Arc::clone(config), name).map_err(NetError::of_tls)?;
        while connection.is_handshaking() {
            connection.complete_io(&mut timed).map_err(NetError::of)?;
        }
        Ok(Connection(Flow::Tls(Box::new(StreamOwned::new(connection, timed)))))
    }

    /// Sends all of `bytes`.
    pub fn send(&mut self, bytes: &[u8]) -> Result<(), NetError> {
        let flow: &mut dyn Write = match &mut self.0 {
            Flow::Plain(flow) => flow,
            Flow::Tls(flow) => flow.as_mut(),
        };
        flow.write_all(bytes).and_then(|()| flow.flush()).map_err(NetError::of)
    }

    /// Receives something, or nothing if the peer has ended the connection in order.
    pub fn receive(&mut self, buffer: &mut [u8]) -> Result<usize, NetError> {
        loop {
            let received = match &mut self.0 {
                Flow::Plain(flow) => flow.read(buffer),
                Flow::Tls(flow) => flow.read(buffer),
            };
            match received {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => return other.map_err(NetError::of),
            }
        }
    }
}

fn connect(address: &Address, deadline: Deadline) -> Result<TcpStream, NetError> {
    let mut refusal = None;
    for place in resolve(address, deadline)? {
        let left = deadline.left().map_err(NetError::of)?.min(CONNECT_MAX);
        match TcpStream::connect_timeout(&place, left) {
            Ok(tcp) => {
                // Only speed hangs on it.
                let _ = tcp.set_nodelay(true);
                return Ok(tcp);
            }
            Err(error) => refusal = Some(error),
        }
    }
    Err(NetError::Connect(refusal.unwrap_or_else(|| io::ErrorKind::AddrNotAvailable.into())))
}

fn resolve(address: &Address, deadline: Deadline) -> Result<Vec<SocketAddr>, NetError> {
    if let Ok(ip) = address.host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, address.port)]);
    }
    let (answer, answered) = mpsc::channel();
    let (host, port) = (address.host.clone(), address.port);
    let asked = std::thread::Builder::new().name("km-resolve".into()).spawn(move || {
        let _ = answer.send((host.as_str(), port).to_socket_addrs().map(Iterator::collect));
    });
    asked.map_err(NetError::Resolve)?;
    match answered.recv_timeout(deadline.left().map_err(NetError::of)?) {
        Ok(found) => found.map_err(NetError::Resolve),
        Err(_) => Err(NetError::Late),
    }
}
