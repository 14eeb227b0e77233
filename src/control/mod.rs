//! The control plane: an HTTP+JSON API on a unix socket, one authorizer, one audit log, and the client of it.
//!
//! Invariants: every request that reads or changes anything passes one [`door`] (authorize, audit, act, audit the
//! outcome); an action that cannot be recorded does not happen; nothing here is on the data path, so trouble here never
//! stops client I/O.

pub mod api;
pub mod audit;
pub mod authorize;
pub mod client;
pub mod door;
pub mod operations;
pub mod peers;
mod routes;
pub mod server;
mod socket;
pub mod tools;
pub mod witness;

pub use authorize::{Actor, Authorizer, Object, Verb};
pub use client::{Client, ClientError};
pub use door::Door;
pub use operations::Operations;
pub use server::{Server, ServerError};
pub use socket::ensure_runtime_dir;

/// Where the control socket is when nobody says otherwise.
pub const DEFAULT_SOCKET: &str = "/run/keymoult/control.sock";
/// Where state (the audit logs of daemon and tools) is when nobody says otherwise.
pub const DEFAULT_STATE_DIR: &str = "/var/lib/keymoult";
