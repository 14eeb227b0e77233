//! The command line and the control API from outside: the real binary, a real unix socket, a daemon of cardboard.

#![allow(clippy::unwrap_used, reason = "helpers of tests may fail the test")]

mod api;
mod fake;
mod full;
mod offline;
mod peers;
mod replicas;
mod samples;
mod schema;
mod transcripts;
