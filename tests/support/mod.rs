//! What integration tests share: a real daemon on a real backing, processes with a limit, a small NBD client.
//!
//! Invariants: everything lives in a temporary folder of the test's own, listens on unix sockets there, and is
//! ended by its own process id; a missing tool is a failure that names `tools/setup`, never a silent skip.

#![allow(dead_code, unused_imports, reason = "each test target uses its own part of this module")]
#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

mod bytes;
pub mod certificates;
mod daemon;
mod map;
pub mod mirror;
mod nbd;
pub mod netns;
mod oracle;
pub mod peers;
mod process;
pub mod proxy;
pub mod quorum;
mod volume;
pub mod writer;

pub use bytes::{pattern, same};
pub use daemon::{Daemon, ServeOptions};
pub use map::{MapEntry, map, total};
pub use nbd::{Client, ClientError, command};
pub use oracle::{Oracle, next};
pub use process::{run, succeed, tool, wait};
pub use volume::{Store, Volume, VolumeOptions};

/// A command for the binary under test: the one just built, or what `KEYMOULT_BIN` names (an installed one).
/// Commands that work without a daemon leave their record in a folder of the build, not in the system's.
pub fn keymoult() -> std::process::Command {
    let binary = std::env::var_os("KEYMOULT_BIN").unwrap_or(env!("CARGO_BIN_EXE_keymoult").into());
    let mut command = std::process::Command::new(binary);
    command.env("KEYMOULT_STATE_DIR", concat!(env!("CARGO_TARGET_TMPDIR"), "/state"));
    command
}

/// One mebibyte, in bytes.
pub const MIB: u64 = 1 << 20;
