//! A data-encryption key wrapped by a key-encryption key, as it stands in the generation table.

use super::Damage;
use super::codec::{Reader, Writer};
use crate::limits::{KEK_ID_MAX, WRAP_BLOB_MAX};

/// One wrap of one generation's key. Opaque to everyone but the provider that made it; it authenticates itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Wrapped {
    /// Which kind of keeper made it (`keys` assigns the numbers).
    pub provider: u8,
    /// The keeper's name for the KEK.
    pub kek_id: String,
    /// Version of the KEK, where the keeper counts them.
    pub kek_version: u32,
    /// What the keeper returned.
    pub blob: Vec<u8>,
}

impl Wrapped {
    /// Appends the wrap to a generation entry.
    pub fn encode(&self, out: &mut Writer) {
        out.u8(self.provider).u32(self.kek_version);
        out.short_bytes(self.kek_id.as_bytes()).short_bytes(&self.blob);
    }

    /// Reads one wrap.
    pub fn decode(reader: &mut Reader<'_>) -> Result<Wrapped, Damage> {
        let provider = reader.u8("wrap provider")?;
        let kek_version = reader.u32("wrap KEK version")?;
        let kek_id = reader.string("wrap KEK id", KEK_ID_MAX)?;
        let blob = reader.short_bytes("wrap blob", WRAP_BLOB_MAX)?.to_vec();
        Ok(Wrapped { provider, kek_id, kek_version, blob })
    }
}
