//! A simulated machine: disks that lose what is not flushed, an engine that finishes operations in any order, a ledger of
//! what a client may find, a workload, and the check of every crash the workload could have had.

pub mod actor;
pub mod crash;
pub mod engine;
pub mod ledger;
pub mod lives;
pub mod order;
pub mod pages;
pub mod rng;
pub mod setting;
pub mod shares;
pub mod state;
pub mod work;
pub mod world;
pub mod zones;
