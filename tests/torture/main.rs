//! The real daemon on a real backing, ended in every way a daemon ends, under clients that know what they were promised.
//!
//! `ledger` says what every sector may hold; `hammer` is a verifying client, `operator` commands rotations, `campaign`
//! brings them together around a daemon that is killed at random moments. `disk` is a block device whose power can be cut
//! (`platter` behind `fuse` behind a loop device): a killed process loses no page cache, a disk without power does.
//! The other modules are single stories. `tools/torture` runs the same campaigns for as long as one likes.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

#[path = "../support/mod.rs"]
mod support;

mod campaign;
mod control;
mod disk;
mod full;
mod fuse;
mod hammer;
mod leaving;
mod ledger;
mod operator;
mod parked;
mod platter;
mod runs;
mod setting;
mod shrinking;
mod tally;
mod twice;
