//! format

pub mod wrapped;
