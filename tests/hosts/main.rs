//! Replicated disks for real: daemons on hosts of their own (network namespaces), bad lines between them, clients that write to
//! every replica.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

#[path = "../support/mod.rs"]
mod support;

mod gone;
mod ground;
mod killed;
mod lines;
mod measure;
mod partition;
mod quorum;
mod revoked;
mod scene;
