//! Tests of the peers' machine: the samples they share, stories, and the proofs.

pub mod sample;
