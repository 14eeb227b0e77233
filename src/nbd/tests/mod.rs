//! Tests of the protocol core: transcripts in hexadecimal, every truncation, and small spaces exhausted.

mod handshake;
mod options;
mod reply;
mod request;
mod script;

/// Bytes as lower-case hexadecimal.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
