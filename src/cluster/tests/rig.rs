//! What stands around a machine in tests: a cheap notary, and a replica that does what the machine asks of a volume.

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest, Sha256};

use crate::cluster::durable::Durable;
use crate::cluster::name::NodeName;
use crate::cluster::node::{Local, Node, Notary, Outcome};
use crate::cluster::progress::Progress;
use crate::cluster::record::{Keyring, Step};
use crate::cluster::stamp::Stamp;
use crate::cluster::steps;
use crate::format::generations::{KeyState, Phase};
use crate::units::Generation;

pub type KeyId = [u8; 16];

/// Signs with a hash of the key's byte and what is signed.
#[derive(Clone, Copy)]
pub struct Seal(pub u8);

impl Seal {
    pub fn of(name: &NodeName) -> Seal {
        Seal(name.as_str().as_bytes()[0])
    }
}

fn mark(key: u8, bytes: &[u8]) -> [u8; 64] {
    let digest: [u8; 32] = Sha256::new().chain_update([key; 32]).chain_update(bytes).finalize().into();
    let mut out = [0; 64];
    out[..32].copy_from_slice(&digest);
    out
}

impl Notary for Seal {
    fn sign(&self, bytes: &[u8]) -> [u8; 64] {
        mark(self.0, bytes)
    }

    fn is_by(&self, key: &[u8; 32], bytes: &[u8], signature: &[u8; 64]) -> bool {
        mark(key[0], bytes) == *signature
    }
}

/// A node with its disk and its replica.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Seat {
    pub name: NodeName,
    pub node: Option<Node>,
    /// What would be there after a crash.
    pub disk: Durable,
    pub replica: Replica,
}

/// A replica: its keys, its extents by generation, and what else holds them. Everything here is durable at once.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Replica {
    pub me: u8,
    pub keys: BTreeMap<Generation, KeyId>,
    pub target: (Generation, KeyId),
    pub extents: Vec<(Generation, KeyId)>,
    /// Held by snapshots of the disk, or backups of its header.
    pub pins: BTreeSet<Generation>,
    pub converged: Stamp,
    pub change: Option<(Step, bool)>,
    pub may_drain: bool,
    pub made: u8,
    pub told: u64,
}

impl Replica {
    pub fn new(name: &NodeName, record: &Keyring, extents: usize) -> Replica {
        let key = &record.keys[0];
        let target = (key.generation, key.key_id);
        Replica {
            me: name.as_str().as_bytes()[0],
            keys: BTreeMap::from([target]),
            target,
            extents: vec![target; extents],
            pins: BTreeSet::new(),
            converged: Stamp::default(),
            change: None,
            may_drain: true,
            made: 0,
            told: 0,
        }
    }

    pub fn perform(&mut self, local: &Local) -> Result<Outcome, String> {
        match local {
            Local::Make { generation, .. } => {
                self.made += 1;
                let mut key_id = [0; 16];
                (key_id[0], key_id[1], key_id[2]) = (self.me, self.made, generation.0 as u8);
                self.keys.insert(*generation, key_id);
                Ok(Outcome::Prepared { generation: *generation, key_id, check: key_id, wraps: Vec::new() })
            }
            Local::Prepare { record, handover } => {
                let key =
                    record.keys.iter().find(|key| key.state == KeyState::Prepared).ok_or("nothing is prepared")?;
                let key_id: KeyId = handover.as_slice().try_into().map_err(|_| "no DEK was handed over")?;
                if key_id != key.key_id {
                    return Err("another DEK was handed over".into());
                }
                self.keys.insert(key.generation, key_id);
                Ok(Outcome::Prepared { generation: key.generation, key_id, check: key_id, wraps: Vec::new() })
            }
            Local::Prove { generation, .. } => {
                let key_id = *self.keys.get(generation).ok_or("the key is not here")?;
                Ok(Outcome::Proven { generation: *generation, key_id, check: key_id })
            }
            Local::Report { generation } => {
                let count = self.extents.iter().filter(|(of, _)| of == generation).count();
                Ok(Outcome::Reported {
                    references: (count > 0).then(|| format!("{count} extents")),
                    pins: self.pins.iter().filter(|of| *of == generation).map(|_| "a backup".to_owned()).collect(),
                })
            }
            Local::Converge { record, may_drain } => self.converge(record, *may_drain),
        }
    }

    fn converge(&mut self, record: &Keyring, may_drain: bool) -> Result<Outcome, String> {
        let active = steps::active(record);
        let key_id = record.key(active).map(|key| key.key_id).ok_or("nothing is active")?;
        if self.keys.get(&active) != Some(&key_id) {
            return Err(format!("generation {active} is not here"));
        }
        self.target = (active, key_id);
        for key in record.keys.iter().filter(|key| key.state == KeyState::Destroyed) {
            if self.keys.get(&key.generation) == Some(&key.key_id) {
                self.keys.remove(&key.generation);
            }
        }
        self.converged = record.stamp;
        self.change = Some((record.change.step, record.change.paused));
        self.may_drain = may_drain;
        Ok(Outcome::Converged(record.stamp))
    }

    /// Re-encrypts the next extent; whether there was one.
    pub fn drain(&mut self) -> bool {
        let running = matches!(self.change, Some((Step::Active | Step::RolledBack, false)));
        let target = self.target;
        match self.extents.iter_mut().find(|extent| **extent != target).filter(|_| running && self.may_drain) {
            Some(extent) => {
                *extent = target;
                true
            }
            None => false,
        }
    }

    pub fn is_drained(&self) -> bool {
        self.extents.iter().all(|extent| *extent == self.target)
    }

    /// What it says of itself.
    pub fn progress(&mut self) -> Progress {
        self.told += 1;
        let count = |generation: &Generation| self.extents.iter().filter(|(of, _)| of == generation).count() as u64;
        Progress {
            sequence: self.told,
            at: 0,
            converged: self.converged,
            hindrance: None,
            target: self.target.0,
            phase: if self.is_drained() { Phase::Drained } else { Phase::Running },
            held: false,
            census: self.keys.keys().map(|generation| (*generation, count(generation))).collect(),
            verified: 0,
            rate: 0,
            eta_s: None,
            last_verified: 0,
        }
    }
}
