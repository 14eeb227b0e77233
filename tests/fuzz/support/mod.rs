//! What the targets share.

pub mod client;
pub mod files;
pub mod golden;
pub mod input;
pub mod memory;
pub mod patches;
pub mod peer;
pub mod replies;
pub mod sealed;
