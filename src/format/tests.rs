//! Tests of the format: the document against the code, round trips, and everything a disk or an attacker may do to it.

mod backup;
mod bounds;
mod damage;
mod document;
mod growth;
mod handover;
mod roundtrip;
mod sample;
mod tables;
