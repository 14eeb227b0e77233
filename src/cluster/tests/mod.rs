//! Tests of the peers' machine: samples and a small world they share, stories, and the proofs.

mod exhaustive;
mod invariants;
mod refusals;
mod rig;
pub mod sample;
mod sim;
mod stories;
mod world;
