//! Tests: transcripts of the protocol core in hexadecimal, every truncation, small spaces exhausted; a server over a
//! volume in memory against a client that says what it is told, and against real clients.

use crate::tls::certificates;

mod client;
mod clients;
mod extended;
mod extended_requests;
mod handshake;
mod memory;
mod options;
mod reply;
mod request;
mod script;
mod serving;
mod starttls;
mod tls_files;
mod tls_pki;
mod tls_serving;
mod tls_stream;
mod transmission;

/// Bytes as lower-case hexadecimal.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
