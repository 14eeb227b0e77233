//! The one closed error of this layer: what failed and where. The cause is the `source`, never repeated in the text.

use std::io;
use std::path::PathBuf;

/// Why a backing or an engine could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// The path could not be opened.
    #[error("cannot open {}", path.display())]
    Open {
        /// What was to be opened.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A new backing could not be created; nothing of it is left behind.
    #[error("cannot create {}", path.display())]
    Create {
        /// What was to be created.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The path is neither a regular file nor a block device.
    #[error("{} is neither a regular file nor a block device", path.display())]
    NotStorage {
        /// The path that was given.
        path: PathBuf,
    },
    /// Somebody else holds the lock of the backing.
    #[error("{} is in use{}", path.display(), holder_text(*holder))]
    InUse {
        /// The backing that is in use.
        path: PathBuf,
        /// The process that holds it, where the kernel names one.
        holder: Option<u32>,
    },
    /// The file system cannot lock.
    #[error("cannot lock {}", path.display())]
    Lock {
        /// The backing that was to be locked.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The backing was opened but could not be examined.
    #[error("cannot examine {} ({what})", path.display())]
    Examine {
        /// The backing in question.
        path: PathBuf,
        /// The step that failed.
        what: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
    /// Direct I/O was asked for by name and the file system refuses it.
    #[error("{} does not allow direct I/O", path.display())]
    NoDirect {
        /// The backing in question.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The sysctl forbids io_uring.
    #[error("io_uring is forbidden: sysctl kernel.io_uring_disabled is {value}")]
    RingForbidden {
        /// The sysctl's value: 1 = only its group or CAP_SYS_ADMIN, 2 = nobody.
        value: u32,
    },
    /// The kernel has no io_uring, or a filter hides it.
    #[error("io_uring is not available: {why}")]
    RingMissing {
        /// What the setup call's answer means.
        why: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The kernel's io_uring lacks something this engine needs.
    #[error("io_uring lacks {missing}")]
    RingLacks {
        /// The operation or feature, by its name in the kernel's header.
        missing: &'static str,
    },
    /// Setting the engine up failed.
    #[error("cannot set up the engine ({what})")]
    Setup {
        /// The step that failed.
        what: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
}

fn holder_text(holder: Option<u32>) -> String {
    holder.map_or_else(String::new, |pid| format!(" by process {pid}"))
}
