//! Canary blocks: known answers that tell whether a key is the one that encrypted a generation.
//!
//! Each entry of the generation table has one. Its plaintext is derived from the metadata key, volume, generation
//! and key id; its ciphertext is what the generation's own key and suite make of it at [`OFFSET`]. XTS cannot fail, so
//! without the canary a wrong key would decrypt to garbage in silence. Invariant: a generation is activated only after
//! both engines agree on its canary, read back from the device.

use super::Damage;
use super::codec::{Reader, Writer};
use super::envelope::{CANARY, Seal};
use crate::units::{BLOCK, Generation};

/// Bytes of canary text: a whole number of data units of either size.
pub const LEN: usize = 4096;
/// Bytes of one slot of the canary zone.
pub const SLOT: u64 = 2 * BLOCK;
/// Where in the tweak space the canary is encrypted: a multiple of every data unit, beyond every volume.
pub const OFFSET: u64 = 1 << 62;

/// The sealed canary of one generation.
pub struct Canary {
    /// Which generation.
    pub generation: Generation,
    /// [`LEN`] bytes encrypted under it.
    pub ciphertext: Vec<u8>,
}

impl Canary {
    /// Seals the canary into slot `slot`.
    pub fn seal(&self, seal: &Seal, slot: u32) -> Vec<u8> {
        let mut out = Writer::new();
        out.u32(self.generation.0).short_bytes(&self.ciphertext);
        let mut block = seal.seal(CANARY, u64::from(slot), u64::from(self.generation.0), &out.bytes);
        block.resize(SLOT as usize, 0);
        block
    }

    /// Opens the canary of slot `slot`.
    pub fn open(seal: &Seal, slot: u32, bytes: &[u8]) -> Result<Canary, Damage> {
        let (_, body) = seal.open(CANARY, u64::from(slot), bytes)?;
        let mut reader = Reader::new(CANARY.name, body);
        let generation = Generation(reader.u32("generation")?);
        let ciphertext = reader.short_bytes("ciphertext", LEN)?.to_vec();
        reader.require(ciphertext.len() == LEN, "ciphertext")?;
        Ok(Canary { generation, ciphertext })
    }
}
