//! The engine: aligned buffers, backings, and the two drivers that move bytes between them and sockets.
//!
//! Invariants every part keeps:
//! - An operation owns its buffers from [`Engine::submit`] until its [`Done`] hands them back, also on failure and
//!   also when the engine is dropped: memory a kernel may still write to is never freed or reused.
//! - A read or write is wholly done or failed. Short transfers, EINTR and EAGAIN end inside the engine.
//! - Both drivers, the ring and its posix twin, give the same results for the same operations; the twin is the
//!   fallback and the test oracle.
//! - Nothing here knows keys, formats or protocols.
//!
//! One engine belongs to one thread at a time. The thread that first calls `submit` or `wait` owns it from then on.

mod arena;
mod backing;
mod buffer;
mod disk;
mod driver;
mod error;
pub(crate) mod faults;
mod gentle;
pub mod huge;
mod inherited;
mod inline;
mod mapping;
pub mod mem;
mod op;
mod pages;
mod posix;
pub mod priority;
mod probe;
mod ring;
mod sock;
mod sys;
mod waker;
mod window;

pub use backing::{Backing, CacheMode, OpenOptions};
pub use buffer::{Buf, CHUNK, CLASS_MAX, CLASS_MIN, Pool, PoolUsage};
pub use disk::{Disk, DiskCaps, InlinePolicy};
pub use driver::{Engine, EngineOptions, EngineReport, EngineStats, IoKind, open};
pub use error::EngineError;
pub use gentle::{Gentle, Restraint, SLOWEST};
pub use inherited::{Inherited, inherited};
pub use op::{Data, Done, Op};
pub use probe::{ProbeReport, probe};
pub use sock::Sock;
pub use waker::Waker;

#[cfg(test)]
mod tests;
