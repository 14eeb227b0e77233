//! What the generation table says beyond keys and rotation: how each entry came into its state, and who else holds keys.
//!
//! It stands behind the rotation record and is left out while there is nothing to say, so that a table of a volume that
//! has only ever rotated is what it always was. Invariants: one [`Life`] for each entry, in their order; at most
//! [`HOLDERS_MAX`] holders; texts within [`ACTOR_MAX`], [`REASON_MAX`] and [`LABEL_MAX`].

use super::codec::{Reader, Writer};
use super::generations::REASON_MAX;
use super::{COUNTER_MAX, Damage};
use crate::units::Generation;

/// Longest name of an actor, bytes.
pub const ACTOR_MAX: usize = 128;
/// Longest label of a holder, bytes.
pub const LABEL_MAX: usize = 255;
/// Holders on record.
pub const HOLDERS_MAX: usize = 64;

/// How an entry came into its state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Life {
    /// When, seconds since 1970; 0: it is in the state it was made in, or older records know.
    pub changed: u64,
    /// When its key may be destroyed, seconds since 1970; 0: no date.
    pub scheduled: u64,
    /// SHA-256 of the statement that proved it empty; zeros: none.
    pub evidence: [u8; 32],
    /// Who changed it.
    pub actor: String,
    /// Why.
    pub reason: String,
}

/// What kind of thing outside the volume holds wrapped keys of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum HolderKind {
    /// A backup of the header.
    HeaderBackup = 1,
    /// An escrow bundle.
    Escrow = 2,
    /// A snapshot of the backing that the operator has declared.
    Snapshot = 3,
}

impl HolderKind {
    /// Every kind.
    pub const ALL: [HolderKind; 3] = [HolderKind::HeaderBackup, HolderKind::Escrow, HolderKind::Snapshot];

    /// The word for it in messages and the API.
    pub fn name(self) -> &'static str {
        match self {
            HolderKind::HeaderBackup => "header-backup",
            HolderKind::Escrow => "escrow",
            HolderKind::Snapshot => "snapshot",
        }
    }
}

/// One thing outside the volume that holds wrapped keys, or ciphertext, of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Its random identity.
    pub id: [u8; 16],
    /// What it is.
    pub kind: HolderKind,
    /// The oldest generation in it.
    pub first: Generation,
    /// The newest generation in it.
    pub last: Generation,
    /// When it was made, seconds since 1970.
    pub made: u64,
    /// When a restore drill last proved it, seconds since 1970; 0: never.
    pub drilled: u64,
    /// When the operator declared it gone, seconds since 1970; 0: it is there.
    pub released: u64,
    /// What the operator calls it: a path, a snapshot's name.
    pub label: String,
}

impl Holder {
    /// Whether it is there and holds the key of `generation`.
    pub fn pins(&self, generation: Generation) -> bool {
        self.released == 0 && (self.first..=self.last).contains(&generation)
    }
}

/// Appends both lists, unless there is nothing to say.
pub(super) fn encode<'a>(out: &mut Writer, lives: impl ExactSizeIterator<Item = &'a Life> + Clone, holders: &[Holder]) {
    if holders.is_empty() && lives.clone().all(|life| *life == Life::default()) {
        return;
    }
    out.u16(u16::try_from(lives.len()).unwrap_or(u16::MAX));
    for life in lives {
        out.u64(life.changed).u64(life.scheduled).raw(&life.evidence);
        out.short_text(&life.actor, ACTOR_MAX).short_text(&life.reason, REASON_MAX);
    }
    out.u16(u16::try_from(holders.len()).unwrap_or(u16::MAX));
    for holder in holders {
        out.raw(&holder.id).u8(holder.kind as u8).u32(holder.first.0).u32(holder.last.0);
        out.u64(holder.made).u64(holder.drilled).u64(holder.released).short_text(&holder.label, LABEL_MAX);
    }
}

/// Reads both lists of a table with `entries` entries; both are empty where the table ends here.
pub(super) fn decode(r: &mut Reader<'_>, entries: usize) -> Result<(Vec<Life>, Vec<Holder>), Damage> {
    if r.rest().is_empty() {
        return Ok((vec![Life::default(); entries], Vec::new()));
    }
    let count = usize::from(r.u16("life count")?);
    r.require(count == entries, "life count")?;
    let mut lives = Vec::with_capacity(entries);
    for _ in 0..entries {
        lives.push(life(r)?);
    }
    let count = usize::from(r.u16("holder count")?);
    r.require(count <= HOLDERS_MAX, "holder count")?;
    let mut holders = Vec::with_capacity(count);
    for _ in 0..count {
        holders.push(holder(r)?);
    }
    r.require(r.rest().is_empty(), "end of the holders")?;
    Ok((lives, holders))
}

fn time(r: &mut Reader<'_>, field: &'static str) -> Result<u64, Damage> {
    let time = r.u64(field)?;
    r.require(time <= COUNTER_MAX, field)?;
    Ok(time)
}

fn life(r: &mut Reader<'_>) -> Result<Life, Damage> {
    Ok(Life {
        changed: time(r, "time of the change")?,
        scheduled: time(r, "date of destruction")?,
        evidence: r.array("evidence")?,
        actor: r.string("actor", ACTOR_MAX)?,
        reason: r.string("reason of the change", REASON_MAX)?,
    })
}

fn holder(r: &mut Reader<'_>) -> Result<Holder, Damage> {
    let id = r.array("holder id")?;
    let kind = r.u8("holder kind")?;
    let kind = HolderKind::ALL.into_iter().find(|known| *known as u8 == kind).ok_or_else(|| r.bad("holder kind"))?;
    let (first, last) = (Generation(r.u32("first generation")?), Generation(r.u32("last generation")?));
    r.require(first <= last, "generations of a holder")?;
    Ok(Holder {
        id,
        kind,
        first,
        last,
        made: time(r, "time a holder was made")?,
        drilled: time(r, "time of a drill")?,
        released: time(r, "time of a release")?,
        label: r.string("label", LABEL_MAX)?,
    })
}
