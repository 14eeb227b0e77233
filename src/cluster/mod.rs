//! Nodes that keep replicas of the same volumes: who they are, and how they talk.
//!
//! | file | what it holds |
//! |---|---|
//! | [`identity`] | names, keys and public lines of nodes |
//! | [`link`] | frames between mutually authenticated nodes, over TLS 1.3 |
//!
//! Invariants: no plaintext data key is known here, only what is sealed; no client's I/O waits for anything here;
//! everything from another node is bounded, parsed and refused with a reason.

pub mod identity;
pub mod link;
