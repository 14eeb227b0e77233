//! How a volume's peers begin: the lead's first record, and how a member that has none yet takes its first.
//!
//! Invariant: a member believes its first record only if the configured lead signed it, it names the member, and its keys are
//! those that the member's volume holds.

use std::collections::BTreeSet;

use super::durable::Durable;
use super::message::Refusal;
use super::name::NodeName;
use super::node::Notary;
use super::record::{Keyring, Role, Signed};
use super::rules;
use crate::format::generations::KeyState;
use crate::units::{Generation, VolumeId};

/// What a member that has no record yet knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Founding {
    /// The cluster.
    pub cluster: String,
    /// The volume.
    pub volume: VolumeId,
    /// This node.
    pub me: NodeName,
    /// The lead, by configuration.
    pub lead: NodeName,
    /// The lead's Ed25519 key.
    pub lead_sign: [u8; 32],
    /// The generations its volume holds and their identities; none on a witness.
    pub keys: Vec<(Generation, [u8; 16])>,
}

impl Founding {
    /// Why a record that is to be believed is not taken as the first one: this member is not in it yet.
    pub fn not_admitted(&self) -> Refusal {
        Refusal::Rule(format!("{} is no member, and waits to be admitted", self.me))
    }
}

impl Durable {
    /// What the lead that founds a volume's peers makes durable: its first record is committed at once.
    ///
    /// # Errors
    /// The record is not sound, too large, or not the first of epoch 1.
    pub fn found(genesis: Keyring, notary: &dyn Notary) -> Result<Durable, String> {
        rules::sound(&genesis)?;
        if genesis.stamp.epoch != 1 || !genesis.mandate.is_empty() || !genesis.ancestors.is_empty() {
            return Err("a first record is of epoch 1 and has no history".into());
        }
        if Keyring::decode(&genesis.encode()).as_ref() != Ok(&genesis) {
            return Err("the record breaks a bound of the format".into());
        }
        Ok(Durable::beginning(Signed { signature: notary.sign(&genesis.signed_bytes()), record: genesis }))
    }

    /// What a member without a record makes durable of the first one it is given; then it is a node like any other, and the
    /// record may be given to that again.
    ///
    /// # Errors
    /// The record is not to be believed; or it is, and does not have the member yet: [`Founding::not_admitted`].
    pub fn first(
        founding: &Founding,
        from: &NodeName,
        signed: &Signed,
        notary: &dyn Notary,
    ) -> Result<Durable, Refusal> {
        let record = &signed.record;
        let lead = record.member(&founding.lead).filter(|lead| lead.sign == founding.lead_sign);
        let entitled = lead.is_some() && record.lead == founding.lead && *from == founding.lead;
        if !entitled || !notary.is_by(&founding.lead_sign, &record.signed_bytes(), &signed.signature) {
            let lead = &founding.lead;
            return Err(Refusal::NotEntitled(format!(
                "the first record has to come from {lead}, signed by the key it is configured with"
            )));
        }
        if record.cluster != founding.cluster || record.volume != founding.volume {
            return Err(Refusal::Rule("the first record is of another cluster or volume".into()));
        }
        rules::sound(record).map_err(Refusal::Rule)?;
        if record.expelled.contains(&founding.me) {
            let me = &founding.me;
            return Err(Refusal::Out(format!("record {} has expelled {me}: it needs a name of its own", record.stamp)));
        }
        let me = record.member(&founding.me).ok_or_else(|| founding.not_admitted())?;
        if me.role == Role::Full {
            same_keys(record, &founding.keys).map_err(Refusal::Rule)?;
        }
        Ok(Durable::beginning(signed.clone()))
    }

    fn beginning(signed: Signed) -> Durable {
        Durable {
            promised: signed.record.stamp.epoch,
            highest: signed.record.keys.last().map_or(Generation::METADATA, |key| key.generation),
            committed: signed.clone(),
            accepted: signed,
            closed: BTreeSet::new(),
            held: false,
            out: None,
        }
    }

    /// Whether the records of a file that was read are signed by the leads they name.
    ///
    /// # Errors
    /// One is not: the CRC being right, somebody changed the file.
    pub fn authentic(&self, notary: &dyn Notary) -> Result<(), String> {
        for signed in [&self.accepted, &self.committed] {
            let record = &signed.record;
            let lead = record.member(&record.lead);
            let good = lead.is_some_and(|lead| notary.is_by(&lead.sign, &record.signed_bytes(), &signed.signature));
            if !good {
                return Err(format!(
                    "record {} is not signed by its lead {}: the file was changed",
                    record.stamp, record.lead
                ));
            }
        }
        Ok(())
    }
}

/// Every generation of the record that is not destroyed is on the volume under the same identity, and none besides.
fn same_keys(record: &Keyring, held: &[(Generation, [u8; 16])]) -> Result<(), String> {
    for key in record.keys.iter().filter(|key| key.state != KeyState::Destroyed) {
        if !held.contains(&(key.generation, key.key_id)) {
            return Err(format!(
                "this replica does not hold generation {}: found it from a bundle of the volume",
                key.generation
            ));
        }
    }
    let stranger = held.iter().find(|(generation, _)| record.key(*generation).is_none());
    match stranger {
        Some((generation, _)) => {
            Err(format!("this replica holds generation {generation}, which the record does not know"))
        }
        None => Ok(()),
    }
}
