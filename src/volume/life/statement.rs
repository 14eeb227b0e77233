//! The statement that a generation is needed by nobody: canonical JSON, signed with a key of the volume.
//!
//! Invariants: the signed bytes are the statement as this build writes it, fields in the order of the struct, so a reader
//! that parses and writes it again has them; the signature is a MAC under a key derived from the metadata key, so whoever
//! holds the volume's KEK can check it, and nobody else can make one; the generation table keeps the statement's SHA-256.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::By;
use super::scan::Scan;
use crate::crypto::mac::MacKey;
use crate::format::generations::Entry;
use crate::format::lives::Holder;
use crate::units::{VolumeId, hex, unhex};
use crate::volume::error::VolumeError;

/// What a statement is, and its version.
pub const KIND: &str = "keymoult retirement 1";

/// Something outside the volume that still holds the key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HolderLine {
    /// Its identity, 32 hexadecimal digits.
    pub id: String,
    /// `header-backup`, `escrow` or `snapshot`.
    pub kind: String,
    /// What the operator calls it.
    pub label: String,
}

/// The statement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Statement {
    /// [`KIND`].
    pub kind: String,
    /// The volume.
    pub volume: String,
    /// The generation that is needed by nobody.
    pub generation: u32,
    /// Its key's identity, 32 hexadecimal digits.
    pub key_id: String,
    /// Rotation epoch.
    pub epoch: u64,
    /// The checkpoint whose tag pages were read.
    pub checkpoint: u64,
    /// Sequence of the superblock that names it.
    pub superblock_sequence: u64,
    /// Sequence of the generation table at that moment.
    pub table_sequence: u64,
    /// Digest of the tag pages, 64 hexadecimal digits.
    pub tag_digest: String,
    /// Extents by generation, as the device says.
    pub extents: BTreeMap<u32, u64>,
    /// Records of the intent ring that name the generation: none.
    pub records: u64,
    /// Live intents that name it: none.
    pub intents: u64,
    /// Requests that still held its key when the fence was passed: none.
    pub requests: u64,
    /// What else holds the key: while there is any, the key is not gone.
    pub holders: Vec<HolderLine>,
    /// When, seconds since 1970.
    pub time: u64,
    /// Who.
    pub actor: String,
    /// Why.
    pub reason: String,
}

/// A statement and its signature: what the file holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Signed {
    statement: Statement,
    /// HMAC-SHA256 over the statement's bytes, 64 hexadecimal digits.
    mac: String,
}

/// What became of checking a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The statement.
    pub statement: Statement,
    /// Its SHA-256.
    pub digest: [u8; 32],
    /// Whether this volume signed it, and nobody has changed it since.
    pub authentic: bool,
    /// Whether it is the one that the generation table names.
    pub on_record: bool,
}

impl Statement {
    /// States what `scan` found of `entry`, of which no request holds the key.
    pub(super) fn of(volume: VolumeId, entry: &Entry, scan: &Scan, holders: &[Holder], by: &By) -> Statement {
        let pins = holders.iter().filter(|holder| holder.pins(entry.generation));
        Statement {
            kind: KIND.into(),
            volume: volume.to_string(),
            generation: entry.generation.0,
            key_id: hex(&entry.key_id),
            epoch: scan.epoch,
            checkpoint: scan.checkpoint,
            superblock_sequence: scan.superblock,
            table_sequence: scan.table,
            tag_digest: hex(&scan.tag_digest),
            extents: scan.extents.clone(),
            records: 0,
            intents: 0,
            requests: 0,
            holders: pins.map(line).collect(),
            time: by.now,
            actor: by.actor.clone(),
            reason: by.reason.clone(),
        }
    }

    /// The bytes that are signed.
    fn bytes(&self) -> Result<Vec<u8>, VolumeError> {
        serde_json::to_vec(self)
            .map_err(|error| VolumeError::Refused(format!("the statement cannot be written: {error}")))
    }

    /// Its SHA-256.
    pub(super) fn digest(&self) -> Result<[u8; 32], VolumeError> {
        Ok(Sha256::digest(self.bytes()?).into())
    }

    /// The file: the statement and its signature, one line.
    pub(super) fn sign(&self, key: &MacKey) -> Result<String, VolumeError> {
        let signed = Signed { statement: self.clone(), mac: hex(&key.tag(&[&self.bytes()?])) };
        let text = serde_json::to_string(&signed);
        let text = text.map_err(|error| VolumeError::Refused(format!("the statement cannot be written: {error}")))?;
        Ok(text + "\n")
    }

    /// Reads a file and checks its signature.
    pub(super) fn open(text: &str, key: &MacKey) -> Result<(Statement, bool), VolumeError> {
        let refused = |why: &dyn std::fmt::Display| VolumeError::Refused(format!("not a retirement statement: {why}"));
        let signed: Signed = serde_json::from_str(text).map_err(|error| refused(&error))?;
        if signed.statement.kind != KIND {
            return Err(refused(&format!("it calls itself {:?}", signed.statement.kind)));
        }
        let mac =
            unhex::<32>(signed.mac.as_bytes()).ok_or_else(|| refused(&"its signature is not 64 hexadecimal digits"))?;
        let authentic = key.verify(&[&signed.statement.bytes()?], &mac);
        Ok((signed.statement, authentic))
    }
}

fn line(holder: &Holder) -> HolderLine {
    HolderLine { id: hex(&holder.id), kind: holder.kind.name().into(), label: holder.label.clone() }
}
