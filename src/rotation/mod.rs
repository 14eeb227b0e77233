//! What a rotation does between its start and its end: which extents next, how fast, and the thread that drives it.
//!
//! | file | what it is for |
//! |---|---|
//! | `order` | which extents are taken next |
//! | `pace` | how many bytes may go now: token bucket, adaptive to what clients feel; pure, the clock is given to it |
//! | `listen` | what clients feel: windows in which the rotation moves against windows in which it listens; pure |
//! | `board` | figures, shared by controller and worker |
//! | `worker` | the loop: candidates, pace, one step of the volume's pipeline |
//! | `life` | retire, destroy, compromise, revoke: what becomes of keys, and of the rotation with them |
//! | `hand` | keys on their way to other replicas |
//! | `share` | prepare, activate, abandon: a rotation of one replica among several |
//! | `controller` | start, pause, resume, pace, roll back, verify, finalize; what `status` shows |
//!
//! Invariants: the record of a rotation (target, phase, order, pace) is on disk before it acts, so a restart goes on
//! where a crash or a SIGTERM left it; at most one worker drives a volume; pausing lets batches in flight finish.

mod board;
pub mod controller;
mod hand;
mod life;
mod listen;
pub mod order;
pub mod pace;
mod share;
mod worker;

#[cfg(test)]
#[path = "tests/gated.rs"]
pub(crate) mod gated;

pub use board::Progress;
pub use controller::{Controller, StateName, Status};
pub use life::{Compromised, Flight, TOP};
