//! No secret leaves: keys and passphrases that the test knows are planted, and then looked for in all that comes out of the
//! real daemon and the real commands, in every spelling, and in the daemon's memory.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

#[path = "../support/mod.rs"]
mod support;

mod api;
mod core;
mod credential;
mod descriptor;
mod hsm;
mod memory;
mod needles;
mod planted;
mod scene;
