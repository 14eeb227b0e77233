//! What is written is read back, nothing else is, and the document says the same.

mod document;
mod roundtrip;
