//! Signing as this node, and sealing new keys to other nodes: the keys of the node, put to the cluster's use.
//!
//! Invariants: what is signed carries a label of its own, so that it is good for nothing else; a sealed key names cluster, volume,
//! generation, key, lead and receiver, and opens with the very same names only; which record it came with is proven by that
//! record's signature.

use std::sync::Arc;

use crate::cluster::identity::NodeKeys;
use crate::cluster::name::NodeName;
use crate::cluster::node::Notary;
use crate::cluster::record::{Key, Keyring};
use crate::crypto::hpke;
use crate::crypto::sign::PublicSigningKey;
use crate::crypto::{CryptoError, Secret};
use crate::format::codec::Writer;
use crate::units::VolumeId;

/// The purpose of signatures of records and promises.
const SIGNED: &str = "keymoult peers 1";
/// The purpose of sealed keys.
const SEALED: &[u8] = b"keymoult peers handover 1";

/// The keys of this node.
#[derive(Clone)]
pub struct NodeNotary(Arc<NodeKeys>);

impl NodeNotary {
    /// The notary of a node.
    pub fn new(keys: Arc<NodeKeys>) -> NodeNotary {
        NodeNotary(keys)
    }

    /// Opens a key that was sealed to this node in `context`.
    ///
    /// # Errors
    /// It was sealed to another node, or in another context, or changed.
    pub fn open(&self, context: &Context<'_>, sealed: &[u8]) -> Result<Secret, CryptoError> {
        self.0.seal().open(SEALED, &context.bytes(), sealed)
    }
}

impl Notary for NodeNotary {
    fn sign(&self, bytes: &[u8]) -> [u8; 64] {
        // A signature of zeros is nobody's: if AWS-LC refuses a key that it took before, others refuse what is said.
        self.0.sign().sign(SIGNED, bytes).unwrap_or_else(|error| {
            tracing::error!(%error, "this node cannot sign");
            [0; 64]
        })
    }

    fn is_by(&self, key: &[u8; 32], bytes: &[u8], signature: &[u8; 64]) -> bool {
        PublicSigningKey(*key).verify(SIGNED, bytes, signature).is_ok()
    }
}

/// What a sealed key is about.
pub struct Context<'a> {
    /// The cluster.
    pub cluster: &'a str,
    /// The volume.
    pub volume: VolumeId,
    /// The generation's entry in the record.
    pub key: &'a Key,
    /// Who seals it.
    pub lead: &'a NodeName,
    /// Who may open it.
    pub to: &'a NodeName,
}

impl<'a> Context<'a> {
    /// The context of a generation of `record` on its way to `to`.
    pub fn of(record: &'a Keyring, key: &'a Key, to: &'a NodeName) -> Context<'a> {
        Context { cluster: &record.cluster, volume: record.volume, key, lead: &record.lead, to }
    }

    fn bytes(&self) -> Vec<u8> {
        let mut out = Writer::new();
        out.short_bytes(self.cluster.as_bytes()).raw(&self.volume.0).u32(self.key.generation.0).raw(&self.key.key_id);
        out.u16(self.key.suite).raw(&self.key.check);
        out.short_bytes(self.lead.as_str().as_bytes()).short_bytes(self.to.as_str().as_bytes());
        out.bytes
    }

    /// Seals a key in this context to the node whose sealing key is `public`.
    ///
    /// # Errors
    /// `public` is no key one can seal to.
    pub fn seal(&self, public: &[u8; 32], plain: &Secret) -> Result<Vec<u8>, CryptoError> {
        hpke::seal(public, SEALED, &self.bytes(), plain)
    }
}

#[cfg(test)]
#[path = "tests/notary.rs"]
mod tests;
