//! The on-disk format from outside: golden images that must open for ever, a reader written from FORMAT.md alone, and
//! what `info` says.

mod client;
mod generate;
mod golden;
mod image;
mod info;
mod numbers;
mod reader;
