//! keymoult: encrypted block volumes over NBD that shed old keys while in use.
//!
//! The crate is layered; an arrow may only point down this list, and `tests/tidy.rs` holds the edges:
//!
//! | layer | what it is |
//! |---|---|
//! | [`cli`] | composition root: arguments, configuration, messages, exit codes |
//! | [`control`] | HTTP API on a unix socket, one authorizer, one audit log |
//! | [`cluster`] | replicas of a volume: the mirrored record, the peers' state machine, the control link |
//! | [`nbd`] | handshake, transmission, sessions, workers, listeners |
//! | [`rotation`] | what a rotation is, how fast it goes, and the worker that drives it |
//! | [`volume`] | the one place where keys, bytes and device meet |
//! | [`keys`] | key-encryption keys and their providers |
//! | [`format`](mod@format) | on-disk structures: bytes only |
//! | [`engine`] | aligned buffers, io_uring, its posix twin, backings |
//! | [`crypto`] | XTS engines, wrap, KDF, MAC, secrets in memory |
//! | [`tls`] | certificates and keys from files, and who they are good for |
//! | [`units`], [`limits`], [`latency`], [`sync`] | what everyone shares: numbers, histograms, and locks that tests can schedule |

pub mod cli;
pub mod cluster;
pub mod control;
pub mod crypto;
pub mod engine;
pub mod format;
pub mod keys;
pub mod latency;
pub mod limits;
pub mod nbd;
pub mod rotation;
pub mod sync;
pub mod tls;
pub mod units;
pub mod volume;
