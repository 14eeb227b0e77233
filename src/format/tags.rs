//! Tag pages: the committed generation of every extent, 1008 to a page, each page in two copies.
//!
//! A checkpoint with sequence *k* writes every changed page, marked *k*, over the copy that does **not** count,
//! then the superblock that names *k* and the digest over every page's (index, sequence). Invariants: only
//! committed tags are ever written; of each page the newest copy not newer than the checkpoint counts, and the
//! digest proves that these are the copies that were meant, so neither rot nor replay can bring back an older page.

use super::codec::Reader;
use super::envelope::{Seal, TAG_PAGE};
use super::layout::TAGS_PER_PAGE;
use super::{Damage, envelope};
use crate::crypto::mac::MacKey;
use crate::units::{BLOCK, Generation};

/// One decoded page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagPage {
    /// Checkpoint that wrote it.
    pub sequence: u64,
    /// [`TAGS_PER_PAGE`] tags.
    pub tags: Vec<Generation>,
}

/// Seals page `index`; missing tags at the end are generation 0.
pub fn seal_page(seal: &Seal, index: u32, sequence: u64, tags: impl Iterator<Item = Generation>) -> Vec<u8> {
    let mut body = vec![0u8; TAGS_PER_PAGE as usize * 4];
    for (slot, tag) in body.chunks_exact_mut(4).zip(tags) {
        slot.copy_from_slice(&tag.0.to_le_bytes());
    }
    let mut page = seal.seal(TAG_PAGE, u64::from(index), sequence, &body);
    page.resize(BLOCK as usize, 0);
    page
}

/// Opens page `index`.
pub fn open_page(seal: &Seal, index: u32, bytes: &[u8]) -> Result<TagPage, Damage> {
    let page = view_page(seal, index, bytes)?;
    Ok(TagPage { sequence: page.sequence, tags: page.tags().collect() })
}

/// A page whose MAC is right, its tags still where they were read to.
pub struct PageView<'a> {
    /// Checkpoint that wrote it.
    pub sequence: u64,
    tags: &'a [u8],
}

impl PageView<'_> {
    /// [`TAGS_PER_PAGE`] tags.
    pub fn tags(&self) -> impl Iterator<Item = Generation> {
        decoded(self.tags)
    }
}

/// Opens page `index` in place.
pub fn view_page<'a>(seal: &Seal, index: u32, bytes: &'a [u8]) -> Result<PageView<'a>, Damage> {
    let (sequence, body) = seal.open(TAG_PAGE, u64::from(index), bytes)?;
    Ok(PageView { sequence, tags: tags_of(body)? })
}

fn tags_of(body: &[u8]) -> Result<&[u8], Damage> {
    Reader::new(TAG_PAGE.name, body).bytes("tags", TAGS_PER_PAGE as usize * 4)
}

fn decoded(tags: &[u8]) -> impl Iterator<Item = Generation> {
    tags.as_chunks::<4>().0.iter().map(|tag| Generation(u32::from_le_bytes(*tag)))
}

/// Whether a page's CRC is right, for those without a key; its sequence if so.
pub fn peek_page(bytes: &[u8]) -> Result<u64, Damage> {
    envelope::peek(TAG_PAGE, bytes).map(|found| found.sequence)
}

/// The tags of a page whose CRC is right, for those without a key.
pub fn peek_tags(bytes: &[u8]) -> Result<Vec<Generation>, Damage> {
    Ok(decoded(tags_of(envelope::peek(TAG_PAGE, bytes)?.body)?).collect())
}

/// The keyed digest over (index, sequence) of every page, in order.
pub fn digest(key: &MacKey, sequences: impl Iterator<Item = u64>) -> [u8; 32] {
    let mut bytes = Vec::new();
    for (index, sequence) in (0u32..).zip(sequences) {
        bytes.extend_from_slice(&index.to_le_bytes());
        bytes.extend_from_slice(&sequence.to_le_bytes());
    }
    key.tag(&[b"tag pages", &bytes])
}

/// Which of a page's two copies counts at `checkpoint`: the newest one not newer than it.
/// `None` where a copy cannot be read; the result is the index of the copy.
pub fn counting_copy(checkpoint: u64, copies: [Option<u64>; 2]) -> Option<usize> {
    let usable = |copy: Option<u64>| copy.filter(|sequence| *sequence <= checkpoint);
    match (usable(copies[0]), usable(copies[1])) {
        (Some(a), Some(b)) => Some(usize::from(b > a)),
        (Some(_), None) => Some(0),
        (None, Some(_)) => Some(1),
        (None, None) => None,
    }
}
