//! What everyone who speaks TLS shares: certificates and keys from files, what a certificate is for, what it calls its
//! holder, how long it is good. No socket and no thread here.
//!
//! | file | what it holds |
//! |---|---|
//! | `pem` | files in, certificates, revocation lists and private keys out |
//! | `verify` | judges certificates of clients and servers: the chain, then the purpose |
//! | `names` | what the holder of a certificate is called |
//! | `der` | the little of DER that is looked up in verified certificates |
//!
//! Invariants: a private key is read from a file that only its owner can read, and what was read of it is wiped; no error
//! shows a byte of any file; a certificate without the purpose it is used for is refused.

#[cfg(test)]
#[path = "../../tests/support/certificates.rs"]
pub(crate) mod certificates;
mod der;
mod names;
mod pem;
mod verify;

pub use der::ends;
pub use names::Names;
pub use pem::{TlsError, chain, identity, malformed, revocation_lists};
pub use verify::{ForClients, ForServers};
