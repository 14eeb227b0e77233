//! Whether anything of erased wraps is left on a header: every window of sixteen bytes of them, searched in every byte of it.
//!
//! A window that a wrap of another generation holds too is that one's: wraps by one passphrase begin alike. Pure, apart from
//! the reads.

use std::collections::HashSet;

use crate::engine::Disk;
use crate::units::BLOCK;
use crate::volume::error::VolumeError;

/// Bytes of a window.
pub const WINDOW: usize = 16;
/// Bytes read at a time.
const STEP: u64 = 1 << 20;

type Window = [u8; WINDOW];

/// What to look for.
pub struct Windows {
    all: HashSet<Window>,
    /// Whether any window begins with these two bytes.
    begins: Box<[bool]>,
}

impl Windows {
    /// The windows of `blobs` that none of `others` holds.
    pub fn of<'a>(blobs: impl Iterator<Item = &'a [u8]>, others: impl Iterator<Item = &'a [u8]>) -> Windows {
        let mut all: HashSet<Window> = blobs.flat_map(windows).collect();
        for window in others.flat_map(windows) {
            all.remove(&window);
        }
        let mut begins = vec![false; 1 << 16].into_boxed_slice();
        all.iter().for_each(|window| begins[usize::from(u16::from_le_bytes([window[0], window[1]]))] = true);
        Windows { all, begins }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Where in `bytes` the first one stands.
    fn find(&self, bytes: &[u8]) -> Option<usize> {
        let candidates = bytes.windows(WINDOW).enumerate();
        let mut likely = candidates.filter(|(_, at)| self.begins[usize::from(u16::from_le_bytes([at[0], at[1]]))]);
        likely.find(|(_, at)| self.all.contains(*at)).map(|(place, _)| place)
    }
}

fn windows(blob: &[u8]) -> impl Iterator<Item = Window> + '_ {
    blob.windows(WINDOW).filter_map(|window| window.try_into().ok())
}

/// What a search found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Residue {
    /// Bytes read.
    pub bytes: u64,
    /// The first byte of every megabyte's first window that is left.
    pub found: Vec<u64>,
}

/// Searches the first `len` bytes of `header`, a multiple of a block, as the device gives them back.
///
/// # Errors
/// A part cannot be read: nothing is known of it.
pub fn search(header: &dyn Disk, len: u64, windows: &Windows) -> Result<Residue, VolumeError> {
    let mut residue = Residue::default();
    if windows.len() == 0 {
        return Ok(residue);
    }
    let mut at = 0;
    while at < len {
        // A block of overlap, so that no window is cut in two.
        let end = (at + STEP + BLOCK).min(len);
        let mut bytes = vec![0; (end - at) as usize];
        header.read_at(at, &mut bytes).map_err(VolumeError::io("read the header back"))?;
        residue.found.extend(windows.find(&bytes).map(|place| at + place as u64));
        residue.bytes += (end - at).min(STEP);
        at += STEP;
    }
    Ok(residue)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::mem::MemDisk;

    #[test]
    fn a_window_is_found_wherever_it_stands_and_only_if_it_is_ours() {
        let blob: Vec<u8> = (1..=40).collect();
        let shared: Vec<u8> = (1..=20).chain([99; 20]).collect();
        let windows = Windows::of([blob.as_slice()].into_iter(), [shared.as_slice()].into_iter());
        assert_eq!(windows.len(), 25 - 5);
        let len = (3 << 20) + 4096;
        for place in [0, 5, 4096 - 8, (1 << 20) - 8, (1 << 20) - 16, 2 << 20, len - 16] {
            let disk = MemDisk::new(len);
            assert_eq!(search(&disk, len as u64, &windows).unwrap(), Residue { bytes: len as u64, found: Vec::new() });
            disk.write_at(place as u64, &blob[20..36]).unwrap();
            assert!(search(&disk, len as u64, &windows).unwrap().found.contains(&(place as u64)), "{place}");
        }
        let disk = MemDisk::new(4096);
        disk.write_at(0, &shared).unwrap();
        disk.write_at(100, &blob[20..35]).unwrap();
        assert_eq!(search(&disk, 4096, &windows).unwrap().found, [] as [u64; 0], "shared, or too short");
    }
}
