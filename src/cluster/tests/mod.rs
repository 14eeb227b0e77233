//! Tests of the peers' machine: samples and a small world they share, stories, and the proofs.

mod rig;
pub mod sample;
mod stories;
mod world;
