//! Peers: the nodes that hold replicas of a volume, and what they tell each other so that a key change is one act over all of
//! them ([`codec`] has the bytes).
//!
//! Invariants: no plaintext key and no data pass through here; nothing is acknowledged that is not durable; client I/O waits for
//! nothing in here.

pub mod codec;
pub mod compare;
pub mod coordinator;
pub mod durable;
#[cfg(feature = "etcd")]
pub mod etcd;
pub mod founding;
pub mod identity;
pub mod link;
pub mod message;
pub mod name;
pub mod node;
pub mod progress;
pub mod record;
pub mod rules;
pub mod stamp;
pub mod steps;
pub mod whole;

#[cfg(test)]
mod tests;
