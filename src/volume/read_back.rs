//! Reading a whole volume back, while clients go on: every extent, or a sample, decrypted by both engines.
//!
//! XTS cannot fail, so this finds what can: sectors the device no longer gives, tags whose key is not loaded, and
//! engines that disagree. Invariant: nothing is written; each extent is read inside its gate, so its tag is stable.

use std::sync::Arc;

use super::Volume;
use super::error::VolumeError;
use super::gates::ReadGate;
use super::holes;
use crate::limits::PIECE_MAX;
use crate::units::{Extent, Generation};

impl Volume {
    /// Reads `sample` extents in a million; `progress` is told how many extents are behind it and may say stop.
    /// Gives the number of extents read.
    pub fn read_all_back(
        self: &Arc<Self>,
        sample: u32,
        progress: &mut dyn FnMut(u64) -> bool,
    ) -> Result<u64, VolumeError> {
        self.data.drop_cache().map_err(VolumeError::io("drop the cache before reading back"))?;
        let mut read = 0;
        let mut bytes = vec![0u8; PIECE_MAX];
        for extent in (0..self.shape().extents()).map(Extent) {
            // What a withdrawn key encrypts cannot be read, and nothing is wrong with it.
            let closed = self.is_closed(self.tag(extent));
            if super::pipeline::wanted(extent, Generation(0), sample) && !closed {
                self.read_extent_back(extent, &mut bytes)?;
                read += 1;
            }
            if !progress(u64::from(extent.0) + 1) {
                return Err(VolumeError::Refused("reading back was cut short".into()));
            }
        }
        Ok(read)
    }

    fn read_extent_back(&self, extent: Extent, bytes: &mut [u8]) -> Result<(), VolumeError> {
        match self.gates.begin_read(&self.tags, extent) {
            ReadGate::Image(_) => Ok(()), // being rewritten right now, from memory
            ReadGate::Barred => Err(VolumeError::Refused(format!("extent {extent} is barred: a key is not loaded"))),
            ReadGate::Device(generation) => {
                let result = self.read_runs(extent, generation, bytes);
                self.gates.end_read(extent);
                result
            }
        }
    }

    fn read_runs(&self, extent: Extent, generation: Generation, bytes: &mut [u8]) -> Result<(), VolumeError> {
        let Some(key) = self.keyring.get(generation) else {
            return Err(VolumeError::UnknownTag { extent, generation });
        };
        let (first, end) = self.shape().extent_range(extent.0);
        let mut at = first;
        while at < end {
            let len = (bytes.len() as u64).min(end - at) as usize;
            let run = &mut bytes[..len];
            let place = self.data_offset + at;
            self.data.read_at(place, run).map_err(VolumeError::io("read an extent back"))?;
            let mut twin = run.to_vec();
            holes::decrypt(&key.cipher, at, run);
            holes::decrypt(&key.other, at, &mut twin);
            if run != twin.as_slice() {
                return Err(VolumeError::ReadBack { extent });
            }
            at += len as u64;
        }
        Ok(())
    }
}
