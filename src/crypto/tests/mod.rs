//! Tests of the cryptographic layer as a whole.

mod differential;
mod memlock;
mod wrapping;
mod xts;
