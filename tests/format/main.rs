//! The on-disk format from outside: golden images that must open for ever, a reader written from FORMAT.md alone, and
//! what `info` says.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod client;
mod generate;
mod golden;
mod image;
mod info;
mod numbers;
mod reader;
