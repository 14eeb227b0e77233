//! The generation table: every key generation with its wraps, the target, and the rotation in progress.
//!
//! Two copies, written alternately; the newest valid one counts, and writing one is the commit point of
//! *activate*, *roll back* and *finalize*. Invariants: generation numbers only grow; entry 0 is the volume metadata
//! key; the target is an `active` entry; at most [`GENERATIONS_MAX`] entries. Wraps authenticate themselves, so the
//! table is read unverified once, to unwrap the metadata key, and verified with it before anything else is believed.

use super::codec::{Reader, Writer};
use super::envelope::{GENERATIONS, HEAD, Seal, TAIL, Unverified};
use super::layout::GENERATIONS_COPY;
use super::lives::{self, Holder, Life};
use super::wrapped::Wrapped;
use super::{COUNTER_MAX, Damage};
use crate::limits::{GENERATIONS_MAX, WRAPS_MAX};
use crate::units::{BLOCK, Generation, align_up};

/// Suite id of the metadata key's entry.
pub const SUITE_METADATA: u16 = 0;
/// Longest reason, bytes.
pub const REASON_MAX: usize = 512;
/// Ranges an order may name.
pub const RANGES_MAX: usize = 64;

/// Key state (DESIGN §6; SP 800-57 part 1, section 7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum KeyState {
    /// Made, not yet used.
    Prepared = 1,
    /// Encrypts and decrypts: the target.
    Active = 2,
    /// Decrypts; encrypts only inside extents still tagged with it.
    Draining = 3,
    /// Proven to have no reference.
    Empty = 4,
    /// Suspended.
    Disabled = 5,
    /// Suspended, with a date.
    Scheduled = 6,
    /// Gone; a tombstone.
    Destroyed = 7,
    /// Withdrawn while extents may still be under it: not loaded, its extents cannot be read; undone only by break-glass.
    Revoked = 8,
}

impl KeyState {
    /// The state's name in messages and the API.
    pub fn name(self) -> &'static str {
        match self {
            KeyState::Prepared => "prepared",
            KeyState::Active => "active",
            KeyState::Draining => "draining",
            KeyState::Empty => "empty",
            KeyState::Disabled => "disabled",
            KeyState::Scheduled => "scheduled",
            KeyState::Destroyed => "destroyed",
            KeyState::Revoked => "revoked",
        }
    }

    /// The state that is stored as `value`.
    pub fn from_u8(value: u8) -> Option<KeyState> {
        use KeyState::{Active, Destroyed, Disabled, Draining, Empty, Prepared, Revoked, Scheduled};
        [Prepared, Active, Draining, Empty, Disabled, Scheduled, Destroyed, Revoked]
            .into_iter()
            .find(|state| *state as u8 == value)
    }

    /// Whether extents may carry such a generation.
    pub fn may_be_tagged(self) -> bool {
        matches!(self, KeyState::Active | KeyState::Draining | KeyState::Revoked)
    }

    /// Whether the key of such a generation is loaded at open.
    pub fn is_loaded(self) -> bool {
        matches!(self, KeyState::Prepared | KeyState::Active | KeyState::Draining | KeyState::Empty)
    }
}

/// One generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its number; 0 is the metadata key.
    pub generation: Generation,
    /// Random identity, against two hosts making "generation 7" at once.
    pub key_id: [u8; 16],
    /// Cipher suite id (`crypto::Suite::id`, or [`SUITE_METADATA`]).
    pub suite: u16,
    /// Bytes of a data unit.
    pub data_unit: u32,
    /// Bytes the tweak counts in.
    pub tweak_unit: u32,
    /// Tweak of volume offset 0.
    pub tweak_base: u64,
    /// Where it stands in its life.
    pub state: KeyState,
    /// Known to be in the wrong hands.
    pub compromised: bool,
    /// Seconds since 1970.
    pub created: u64,
    /// Seconds since 1970; 0: never activated.
    pub activated: u64,
    /// Bytes encrypted under it, reserved ahead: the true count is not larger.
    pub bytes_reserved: u64,
    /// Why it was made.
    pub reason: String,
    /// Slot of its canary block.
    pub canary_slot: u16,
    /// Its wrapped copies.
    pub wraps: Vec<Wrapped>,
    /// How it came into its state.
    pub life: Life,
}

/// Where a rotation stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Phase {
    /// None was ever started.
    Idle = 0,
    /// Extents are being re-encrypted.
    Running = 1,
    /// Stopped by the operator.
    Paused = 2,
    /// All extents carry the target; not finalized.
    Drained = 3,
    /// Finalized: no way back.
    Finalized = 4,
    /// Stopped by an error; see the volume's messages.
    Failed = 5,
}

impl Phase {
    /// The phase of a number.
    pub fn from_u8(value: u8) -> Option<Phase> {
        use Phase::{Drained, Failed, Finalized, Idle, Paused, Running};
        [Idle, Running, Paused, Drained, Finalized, Failed].into_iter().find(|phase| *phase as u8 == value)
    }
}

/// Which extents go first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// By position.
    Sequential,
    /// By generation, oldest first.
    OldestFirst,
    /// The given byte ranges `first..end` first, then by position.
    Ranges(Vec<(u64, u64)>),
}

/// How fast it may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Pace {
    /// Bytes per second; 0: no limit.
    pub rate: u64,
    /// Whether client latency slows it down.
    pub adaptive: bool,
    /// Adaptive: client p99 may reach this many percent of its baseline.
    pub factor_percent: u16,
}

/// How much is read back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum VerifyMode {
    /// Nothing.
    Off,
    /// This many extents in a million.
    Sample(u32),
    /// Every extent.
    Full,
}

impl VerifyMode {
    /// As a number: extents in a million.
    pub fn number(self) -> u32 {
        match self {
            VerifyMode::Off => 0,
            VerifyMode::Sample(ppm) => ppm,
            VerifyMode::Full => 1_000_000,
        }
    }

    /// The mode of a number.
    pub fn from_number(number: u32) -> Option<VerifyMode> {
        match number {
            0 => Some(VerifyMode::Off),
            1_000_000 => Some(VerifyMode::Full),
            ppm if ppm < 1_000_000 => Some(VerifyMode::Sample(ppm)),
            _ => None,
        }
    }
}

/// The rotation on record: the latest one, running or done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// Counts rotations of this volume, rollbacks included.
    pub id: u64,
    /// Where it stands.
    pub phase: Phase,
    /// What new writes are encrypted under once their extent is rewritten.
    pub target: Generation,
    /// What a rollback makes the target again; none after finalize.
    pub rollback_to: Option<Generation>,
    /// Whether this rotation is itself a rollback.
    pub is_rollback: bool,
    /// Whether the operator, not verification, finalizes it.
    pub hold_finalize: bool,
    /// Which extents go first.
    pub order: Order,
    /// How fast it may go.
    pub pace: Pace,
    /// How much is read back.
    pub verify: VerifyMode,
    /// Seconds since 1970; 0: never.
    pub started: u64,
    /// Seconds since 1970 when drained; 0: not yet.
    pub drained: u64,
    /// Extents whose read-back after the rewrite matched.
    pub verified: u64,
    /// Why it was started, or rolled back.
    pub reason: String,
}

impl Rotation {
    /// No rotation: `target` is the generation everything was created under.
    pub fn none(target: Generation) -> Rotation {
        Rotation {
            id: 0,
            phase: Phase::Idle,
            target,
            rollback_to: None,
            is_rollback: false,
            hold_finalize: false,
            order: Order::Sequential,
            pace: Pace { rate: 0, adaptive: true, factor_percent: 150 },
            verify: VerifyMode::Off,
            started: 0,
            drained: 0,
            verified: 0,
            reason: String::new(),
        }
    }
}

/// The whole table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GenerationTable {
    /// Entries by rising generation; the first is the metadata key's.
    pub entries: Vec<Entry>,
    /// The rotation on record.
    pub rotation: Rotation,
    /// What else holds wrapped keys, or ciphertext, of the volume.
    pub holders: Vec<Holder>,
}

impl GenerationTable {
    /// The entry of `generation`.
    pub fn entry(&self, generation: Generation) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.generation == generation)
    }

    /// The entry of `generation`, to change it.
    pub fn entry_mut(&mut self, generation: Generation) -> Option<&mut Entry> {
        self.entries.iter_mut().find(|entry| entry.generation == generation)
    }

    /// What the rotation on record moves away from: of all other generations the one activated last.
    pub fn previous_target(&self) -> Option<Generation> {
        let keys = self.entries.iter().filter(|entry| entry.generation != Generation::METADATA && entry.activated > 0);
        let others = keys.filter(|entry| entry.generation != self.rotation.target);
        others.max_by_key(|entry| (entry.activated, entry.generation)).map(|entry| entry.generation)
    }

    /// A canary slot no entry uses.
    pub fn free_slot(&self) -> Option<u16> {
        (0..GENERATIONS_MAX as u16).find(|slot| self.entries.iter().all(|entry| entry.canary_slot != *slot))
    }

    /// The number the next generation gets.
    pub fn next_generation(&self) -> Generation {
        Generation(self.entries.iter().map(|entry| entry.generation.0).max().unwrap_or(0) + 1)
    }

    /// Seals the table into whole blocks; `None` if it does not fit its zone, or breaks a bound that reading it back
    /// would trip over: such a table would lock its owner out. (Reasons longer than [`REASON_MAX`] are cut.)
    pub fn seal(&self, seal: &Seal, sequence: u64) -> Option<Vec<u8>> {
        let body = self.encode();
        let len = align_up((HEAD + body.len() + TAIL) as u64, BLOCK);
        if len > GENERATIONS_COPY || GenerationTable::decode_body(&body).is_err() {
            return None;
        }
        let mut bytes = seal.seal(GENERATIONS, 0, sequence, &body);
        bytes.resize(len as usize, 0);
        Some(bytes)
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = Writer::new();
        out.u16(u16::try_from(self.entries.len()).unwrap_or(u16::MAX));
        for entry in &self.entries {
            entry.encode(&mut out);
        }
        self.rotation.encode(&mut out);
        lives::encode(&mut out, self.entries.iter().map(|entry| &entry.life), &self.holders);
        out.bytes
    }

    /// Reads the table of an unverified envelope.
    pub fn decode(found: &Unverified<'_>) -> Result<GenerationTable, Damage> {
        GenerationTable::decode_body(found.body)
    }

    fn decode_body(body: &[u8]) -> Result<GenerationTable, Damage> {
        let mut reader = Reader::new(GENERATIONS.name, body);
        let count = usize::from(reader.u16("entry count")?);
        reader.require((1..=GENERATIONS_MAX).contains(&count), "entry count")?;
        let mut entries: Vec<Entry> = Vec::with_capacity(count);
        for _ in 0..count {
            let entry = Entry::decode(&mut reader)?;
            let grows = entries.last().is_none_or(|last| last.generation < entry.generation);
            reader.require(grows, "generation order")?;
            entries.push(entry);
        }
        let rotation = Rotation::decode(&mut reader)?;
        let (lives, holders) = lives::decode(&mut reader, count)?;
        entries.iter_mut().zip(lives).for_each(|(entry, life)| entry.life = life);
        let table = GenerationTable { entries, rotation, holders };
        reader.require(table.entry(Generation::METADATA).is_some(), "metadata key entry")?;
        let target = table.entry(table.rotation.target);
        reader.require(target.is_some_and(|entry| entry.state == KeyState::Active), "target")?;
        Ok(table)
    }
}

impl Entry {
    fn encode(&self, out: &mut Writer) {
        out.u32(self.generation.0).raw(&self.key_id).u16(self.suite);
        out.u32(self.data_unit).u32(self.tweak_unit).u64(self.tweak_base);
        out.u8(self.state as u8).u8(u8::from(self.compromised)).u16(self.canary_slot);
        out.u64(self.created).u64(self.activated).u64(self.bytes_reserved);
        out.short_text(&self.reason, REASON_MAX).u8(u8::try_from(self.wraps.len()).unwrap_or(u8::MAX));
        for wrap in &self.wraps {
            wrap.encode(out);
        }
    }

    fn decode(r: &mut Reader<'_>) -> Result<Entry, Damage> {
        let mut entry = Entry {
            generation: Generation(r.u32("generation")?),
            key_id: r.array("key id")?,
            suite: r.u16("suite")?,
            data_unit: r.u32("data unit")?,
            tweak_unit: r.u32("tweak unit")?,
            tweak_base: r.u64("tweak base")?,
            state: {
                let state = r.u8("key state")?;
                KeyState::from_u8(state).ok_or_else(|| r.bad("key state"))?
            },
            compromised: r.u8("compromised mark")? != 0,
            canary_slot: r.u16("canary slot")?,
            created: r.u64("creation time")?,
            activated: r.u64("activation time")?,
            bytes_reserved: r.u64("bytes encrypted")?,
            reason: r.string("reason", REASON_MAX)?,
            wraps: Vec::new(),
            life: Life::default(),
        };
        let units_ok = matches!(entry.data_unit, 512 | 4096) && matches!(entry.tweak_unit, 512 | 4096);
        r.require(units_ok && entry.tweak_unit <= entry.data_unit, "data unit or tweak unit")?;
        r.require(usize::from(entry.canary_slot) < GENERATIONS_MAX, "canary slot")?;
        r.require(entry.generation < Generation(u32::MAX), "generation")?;
        r.require(entry.bytes_reserved <= COUNTER_MAX, "bytes encrypted")?;
        let wraps = usize::from(r.u8("wrap count")?);
        r.require(wraps <= WRAPS_MAX, "wrap count")?;
        for _ in 0..wraps {
            entry.wraps.push(Wrapped::decode(r)?);
        }
        Ok(entry)
    }
}

impl Rotation {
    fn encode(&self, out: &mut Writer) {
        out.u64(self.id).u8(self.phase as u8).u32(self.target.0).u32(self.rollback_to.map_or(0, |to| to.0));
        out.u8(u8::from(self.is_rollback) | u8::from(self.hold_finalize) << 1);
        let (order, ranges): (u8, &[(u64, u64)]) = match &self.order {
            Order::Sequential => (0, &[]),
            Order::OldestFirst => (1, &[]),
            Order::Ranges(ranges) => (2, ranges),
        };
        out.u8(order).u16(u16::try_from(ranges.len()).unwrap_or(u16::MAX));
        for (first, end) in ranges {
            out.u64(*first).u64(*end);
        }
        out.u64(self.pace.rate).u8(u8::from(self.pace.adaptive)).u16(self.pace.factor_percent);
        out.u32(self.verify.number());
        out.u64(self.started).u64(self.drained).u64(self.verified).short_text(&self.reason, REASON_MAX);
    }

    fn decode(r: &mut Reader<'_>) -> Result<Rotation, Damage> {
        let id = r.u64("rotation id")?;
        r.require(id <= COUNTER_MAX, "rotation id")?;
        let phase = r.u8("rotation phase")?;
        let phase = Phase::from_u8(phase).ok_or_else(|| r.bad("rotation phase"))?;
        let target = Generation(r.u32("target")?);
        let rollback_to = Some(Generation(r.u32("rollback target")?)).filter(|to| *to != Generation::METADATA);
        let flags = r.u8("rotation flags")?;
        r.require(flags < 4, "rotation flags")?;
        let order = Self::decode_order(r)?;
        let pace =
            Pace { rate: r.u64("rate")?, adaptive: r.u8("pace mode")? != 0, factor_percent: r.u16("pace factor")? };
        let verify = VerifyMode::from_number(r.u32("verification")?).ok_or_else(|| r.bad("verification"))?;
        Ok(Rotation {
            id,
            phase,
            target,
            rollback_to,
            is_rollback: flags & 1 != 0,
            hold_finalize: flags & 2 != 0,
            order,
            pace,
            verify,
            started: r.u64("start time")?,
            drained: r.u64("drain time")?,
            verified: r.u64("verified extents")?,
            reason: r.string("reason", REASON_MAX)?,
        })
    }

    fn decode_order(r: &mut Reader<'_>) -> Result<Order, Damage> {
        let order = r.u8("order")?;
        let count = usize::from(r.u16("range count")?);
        r.require(count <= RANGES_MAX && (order == 2 || count == 0), "range count")?;
        let mut ranges = Vec::with_capacity(count);
        for _ in 0..count {
            ranges.push((r.u64("range")?, r.u64("range")?));
        }
        match order {
            0 => Ok(Order::Sequential),
            1 => Ok(Order::OldestFirst),
            2 => Ok(Order::Ranges(ranges)),
            _ => Err(r.bad("order")),
        }
    }
}
