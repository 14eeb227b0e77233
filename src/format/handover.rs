//! Keys on their way to another replica of a volume: one key in a *handover*, those of a whole volume in a *founding*.
//!
//! Bytes only: who may have them, and who seals them for whom, is others' business. Invariants: what is encoded is as secret
//! as the keys in it, so it stays in a [`Secret`]; a reader takes what is within the bounds, whole, and nothing behind it; the
//! generations of a founding rise, exactly one is active, and a destroyed one has no key. Whether a key is what it is said to
//! be, and fits a volume, is judged by whoever takes it.

use super::codec::{Reader, Writer};
use super::generations::{KeyState, REASON_MAX};
use super::{COUNTER_MAX, Damage};
use crate::crypto::Secret;
use crate::limits::GENERATIONS_MAX;
use crate::units::{Generation, VolumeId};

/// The first eight bytes of a handover.
pub const HANDOVER_MAGIC: [u8; 8] = *b"KMHANDOV";
/// The first eight bytes of a founding.
pub const FOUNDING_MAGIC: [u8; 8] = *b"KMFOUNDG";
/// The version this build writes and reads.
pub const VERSION: u32 = 1;
/// Bytes of a check value.
pub const CHECK_LEN: usize = 16;
/// Longest key, bytes.
pub const KEY_MAX: usize = 64;
/// Bytes of a key's fields, its reason and the key itself aside.
const FIXED: usize = 4 + 16 + 2 + 4 + 4 + 8 + 8 + 2 + CHECK_LEN + 2;
/// Longest handover, bytes.
pub const HANDOVER_MAX: usize = 12 + FIXED + REASON_MAX + KEY_MAX;
/// Bytes of a founding before its keys.
const FOUNDING_FIXED: usize = 12 + 16 + 3 * 8 + 4 + 2;
/// Bytes that a founding says of a key beyond a handover.
const STANDING: usize = 1 + 1 + 3 * 8;
/// Longest founding, bytes.
pub const FOUNDING_MAX: usize = FOUNDING_FIXED + (GENERATIONS_MAX - 1) * (STANDING + FIXED + REASON_MAX + KEY_MAX);

/// The key of one generation.
pub struct Handover {
    /// Its number, the same on every replica.
    pub generation: Generation,
    /// Its identity.
    pub key_id: [u8; 16],
    /// Cipher suite id.
    pub suite: u16,
    /// Bytes of a data unit.
    pub data_unit: u32,
    /// Bytes the tweak counts in.
    pub tweak_unit: u32,
    /// Tweak of volume offset 0.
    pub tweak_base: u64,
    /// When it was made, seconds since 1970.
    pub created: u64,
    /// Why it was made.
    pub reason: String,
    /// Check value of the key: tells whether two replicas have the same one, without showing it.
    pub check: [u8; CHECK_LEN],
    /// The key; empty where there is none.
    pub key: Secret,
}

/// The key of a generation that the volume has, and where it stands in its life.
pub struct SharedKey {
    /// The key.
    pub handover: Handover,
    /// Its state. A destroyed one is a number that is never given again, without a key.
    pub state: KeyState,
    /// Known to be in the wrong hands.
    pub compromised: bool,
    /// When it was activated, seconds since 1970; 0: never.
    pub activated: u64,
    /// From when on its key may be destroyed, seconds since 1970; 0: no date.
    pub scheduled: u64,
    /// Bytes encrypted under it, at most.
    pub bytes: u64,
}

/// What another replica of a volume is made from.
pub struct Founding {
    /// Identity of the volume.
    pub volume: VolumeId,
    /// Bytes clients see.
    pub size: u64,
    /// Bytes it may grow to.
    pub max_size: u64,
    /// Bytes of an extent.
    pub extent_size: u64,
    /// Bytes of a data unit.
    pub data_unit: u32,
    /// Its generations, rising, the metadata key aside.
    pub keys: Vec<SharedKey>,
}

impl Handover {
    /// The handover as bytes.
    pub fn encode(&self) -> Secret {
        let mut open = Writer::new();
        open.raw(&HANDOVER_MAGIC).u32(VERSION);
        self.write(&mut open);
        joined(&[(open.bytes, Some(&self.key))])
    }

    /// Reads a handover; whether the key is what it is said to be is not judged here.
    ///
    /// # Errors
    /// It is none, of a newer version, or out of bounds.
    pub fn decode(bytes: &[u8]) -> Result<Handover, Damage> {
        let mut reader = head("handover", HANDOVER_MAGIC, bytes)?;
        let handover = Handover::read(&mut reader)?;
        reader.require(reader.rest().is_empty(), "end")?;
        Ok(handover)
    }

    /// Everything but the key itself, which comes next.
    fn write(&self, out: &mut Writer) {
        out.u32(self.generation.0).raw(&self.key_id).u16(self.suite);
        out.u32(self.data_unit).u32(self.tweak_unit).u64(self.tweak_base);
        out.u64(self.created).short_text(&self.reason, REASON_MAX).raw(&self.check);
        out.u16(u16::try_from(self.key.len()).unwrap_or(u16::MAX));
    }

    fn read(r: &mut Reader<'_>) -> Result<Handover, Damage> {
        let generation = Generation(r.u32("generation")?);
        r.require(generation != Generation::METADATA && generation.0 < u32::MAX, "generation")?;
        let (key_id, suite) = (r.array("key id")?, r.u16("suite")?);
        let (data_unit, tweak_unit) = (r.u32("data unit")?, r.u32("tweak unit")?);
        let units_ok = matches!(data_unit, 512 | 4096) && matches!(tweak_unit, 512 | 4096) && tweak_unit <= data_unit;
        r.require(units_ok, "data unit or tweak unit")?;
        let tweak_base = r.u64("tweak base")?;
        let created = time(r, "creation time")?;
        let reason = r.string("reason", REASON_MAX)?;
        let check = r.array("check value")?;
        let key = r.short_bytes("key", KEY_MAX)?;
        let key = Secret::filled(key.len(), |bytes| bytes.copy_from_slice(key));
        Ok(Handover { generation, key_id, suite, data_unit, tweak_unit, tweak_base, created, reason, check, key })
    }
}

impl Founding {
    /// The founding as bytes.
    pub fn encode(&self) -> Secret {
        let mut open = Writer::new();
        open.raw(&FOUNDING_MAGIC).u32(VERSION).raw(&self.volume.0);
        open.u64(self.size).u64(self.max_size).u64(self.extent_size).u32(self.data_unit);
        open.u16(u16::try_from(self.keys.len()).unwrap_or(u16::MAX));
        let mut parts = vec![(open.bytes, None)];
        for shared in &self.keys {
            let mut open = Writer::new();
            open.u8(shared.state as u8).u8(u8::from(shared.compromised));
            open.u64(shared.activated).u64(shared.scheduled).u64(shared.bytes);
            shared.handover.write(&mut open);
            parts.push((open.bytes, Some(&shared.handover.key)));
        }
        joined(&parts)
    }

    /// Reads a founding; whether its keys are what they are said to be is not judged here.
    ///
    /// # Errors
    /// It is none, of a newer version, or out of bounds.
    pub fn decode(bytes: &[u8]) -> Result<Founding, Damage> {
        let mut reader = head("founding", FOUNDING_MAGIC, bytes)?;
        let r = &mut reader;
        let volume = VolumeId(r.array("volume id")?);
        let (size, max_size, extent_size) = (r.u64("size")?, r.u64("maximum size")?, r.u64("extent size")?);
        let data_unit = r.u32("data unit")?;
        let count = usize::from(r.u16("key count")?);
        r.require((1..GENERATIONS_MAX).contains(&count), "key count")?;
        let mut keys: Vec<SharedKey> = Vec::with_capacity(count);
        for _ in 0..count {
            let shared = SharedKey::read(r)?;
            let last = keys.last().map_or(Generation::METADATA, |last| last.handover.generation);
            r.require(last < shared.handover.generation, "generation order")?;
            keys.push(shared);
        }
        r.require(keys.iter().filter(|key| key.state == KeyState::Active).count() == 1, "active generation")?;
        r.require(r.rest().is_empty(), "end")?;
        Ok(Founding { volume, size, max_size, extent_size, data_unit, keys })
    }
}

impl SharedKey {
    fn read(r: &mut Reader<'_>) -> Result<SharedKey, Damage> {
        let state = KeyState::from_u8(r.u8("key state")?).filter(|state| *state != KeyState::Revoked);
        let state = state.ok_or_else(|| r.bad("key state"))?;
        let compromised = r.u8("compromised mark")?;
        r.require(compromised < 2, "compromised mark")?;
        let activated = time(r, "activation time")?;
        let scheduled = time(r, "date of destruction")?;
        let bytes = time(r, "bytes encrypted")?;
        let handover = Handover::read(r)?;
        r.require(state != KeyState::Destroyed || handover.key.is_empty(), "key of a destroyed generation")?;
        Ok(SharedKey { handover, state, compromised: compromised != 0, activated, scheduled, bytes })
    }
}

fn head<'a>(what: &'static str, magic: [u8; 8], bytes: &'a [u8]) -> Result<Reader<'a>, Damage> {
    let mut reader = Reader::new(what, bytes);
    if reader.array("magic")? != magic {
        return Err(Damage::NotThis { what });
    }
    match reader.u32("version")? {
        VERSION => Ok(reader),
        found => Err(Damage::Newer { what, found }),
    }
}

/// A number of seconds or bytes that may be believed.
fn time(r: &mut Reader<'_>, field: &'static str) -> Result<u64, Damage> {
    let time = r.u64(field)?;
    r.require(time <= COUNTER_MAX, field)?;
    Ok(time)
}

/// The parts one behind the other, the keys never outside of secrets.
fn joined(parts: &[(Vec<u8>, Option<&Secret>)]) -> Secret {
    let key = |key: &Option<&Secret>| key.map_or(0, Secret::len);
    let len = parts.iter().map(|(open, secret)| open.len() + key(secret)).sum();
    Secret::filled(len, |bytes| {
        let mut rest = bytes;
        for (open, secret) in parts {
            for part in [open.as_slice(), secret.map_or(&[][..], Secret::expose)] {
                let (here, behind) = rest.split_at_mut(part.len());
                here.copy_from_slice(part);
                rest = behind;
            }
        }
    })
}
