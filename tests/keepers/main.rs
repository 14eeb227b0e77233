//! KEKs whose keepers run beside the daemon: the real OpenBao, PyKMIP's server, and servers that misbehave.
//!
//! `tools/setup` installs the keepers, at fixed versions, into `target/keepers`. Every test starts one of its own on a
//! port that was free, with TLS and certificates made for it, and ends it by its process id.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

#[path = "../support/mod.rs"]
mod support;

mod bao;
mod kmip;
mod outage;
mod pykmip;
mod reconcile;
mod rules;
mod start;
mod strange;
mod transit;
