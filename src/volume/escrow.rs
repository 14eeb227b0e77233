//! The keys of a volume into escrow, and from there under a new KEK.
//!
//! Export: (1) the bundle is entered among the holders, durable before there is any; (2) a header backup of the same moment;
//! (3) every wrapped key is opened, which the KEK's witness records, and sealed to the recipients. Import is a restore of the
//! header, where that is needed, with the bundle's keys in place of a KEK, and then [`Volume::rewrap_for`]. Invariant: the wraps of a
//! volume are replaced by proven ones in one commit of the table: a crash leaves the old wraps or the new ones.

use std::sync::Arc;

use super::backup::MadeBackup;
use super::error::VolumeError;
use super::holders::NewHolder;
use super::open::unwrap;
use super::prepare::wrap_for_all;
use super::{Volume, VolumeError as Error};
use crate::crypto::age::Recipient;
use crate::format::generations::GenerationTable;
use crate::keys::escrow::{self, Contents, EscrowKey};
use crate::keys::{Kek, WrapPurpose};
use crate::units::{Generation, VolumeId};

impl Volume {
    /// Seals every key that has a wrap to `recipients`, any `threshold` of whom can open it. Gives the bundle's bytes, with its
    /// entry among the holders; on failure there is none.
    ///
    /// # Errors
    /// As [`Volume::back_up`], a key that does not open, or recipients that make no sense.
    pub fn export_escrow(
        self: &Arc<Self>,
        keks: &[Kek],
        new: &NewHolder,
        recipients: &[Recipient],
        threshold: usize,
    ) -> Result<MadeBackup, VolumeError> {
        escrow::check_threshold(recipients.len(), threshold)?;
        let made = self.back_up(new)?;
        let sealed = keys_of(self.id(), &self.table(), keks).and_then(|keys| {
            let (volume, holder, at) = (self.id(), made.holder.id, made.holder.made);
            let contents = Contents { volume, holder, made: at, backup: made.bytes.clone() };
            escrow::seal(contents, &keys, recipients, threshold).map_err(Error::Escrow)
        });
        match sealed {
            Ok(bundle) => Ok(MadeBackup { bytes: bundle.encode(), ..made }),
            Err(error) => {
                self.forget_backup(&made.holder)?;
                Err(error)
            }
        }
    }

    /// Wraps every key that `from` gives for every KEK of `to`, in place of all wraps there are; one commit. Gives the generations
    /// that have no key any more, because `from` has none for them.
    ///
    /// # Errors
    /// A key that the volume needs is not given, a KEK does not give back what it wraps, or the table could not be written.
    pub fn rewrap_for(self: &Arc<Self>, from: &[Kek], to: &[Kek]) -> Result<Vec<Generation>, VolumeError> {
        if to.is_empty() {
            return Err(Error::Refused("a volume needs at least one key-encryption key".into()));
        }
        let (mut wrapped, mut without) = (Vec::new(), Vec::new());
        for entry in self.table().entries.into_iter().filter(|entry| !entry.wraps.is_empty()) {
            let needed = entry.state.is_loaded();
            match unwrap(self.id(), &entry, from) {
                Ok(opened) => {
                    let mut bare = entry.clone();
                    bare.wraps.clear();
                    wrapped.push(wrap_for_all(to, self.id(), bare, &opened.key)?);
                }
                Err(error) if needed => return Err(error),
                Err(_) => without.push(entry.generation),
            }
        }
        self.commit_table(|table| {
            for entry in &mut table.entries {
                match wrapped.iter().find(|new| new.key_id == entry.key_id) {
                    Some(new) => entry.wraps.clone_from(&new.wraps),
                    None => entry.wraps.clear(),
                }
            }
        })?;
        Ok(without)
    }
}

fn keys_of(volume: VolumeId, table: &GenerationTable, keks: &[Kek]) -> Result<Vec<EscrowKey>, VolumeError> {
    let wrapped = table.entries.iter().filter(|entry| !entry.wraps.is_empty());
    let opened = wrapped.map(|entry| {
        let purpose = WrapPurpose { volume, generation: entry.generation, key_id: entry.key_id, suite: entry.suite };
        Ok(EscrowKey { purpose, key: unwrap(volume, entry, keks)?.key })
    });
    opened.collect()
}
