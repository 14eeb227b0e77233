//! The tag table in memory: which generation encrypts each extent.
//!
//! Invariants: every extent has two tags. The **current** one is what I/O uses; it changes when the rotation's data
//! write completes. The **committed** one is what a durable commit record says; only it ever goes into a checkpoint. They
//! differ for the few extents of batches in flight, which are kept apart. The table is an anonymous map, never a file's.
//! It has room for every extent the volume may ever have; growth moves its end.

use std::collections::{BTreeMap, HashMap};
use std::sync::PoisonError;
use std::sync::atomic::{self, Ordering};

use super::rules;
use crate::engine::huge;
use crate::sync::{self, AtomicU32, Mutex};
use crate::units::{Extent, Generation};

/// How many extents carry each tag.
pub type Census = BTreeMap<Generation, u64>;

/// The tags of one volume.
pub struct TagTable {
    /// Room for all, in use up to `len`.
    current: Box<[AtomicU32]>,
    len: atomic::AtomicU32,
    books: Mutex<Books>,
}

#[derive(Default)]
struct Books {
    /// Committed tags that differ from the current ones.
    committed: HashMap<Extent, Generation>,
    /// Extents by current tag.
    census: Census,
}

/// Zeros for the tags of all extents that a volume may ever have, of which `extents` are used at once.
pub fn room(extents_max: u32, extents: u32) -> Box<[AtomicU32]> {
    let mut tags = sync::zeros(extents_max as usize);
    // Not for the room to grow into: one tag would take two megabytes.
    huge::advise(&mut tags[..extents as usize]);
    tags
}

impl TagTable {
    /// A table whose current and committed tags are `tags`.
    pub fn new(tags: impl ExactSizeIterator<Item = Generation>) -> TagTable {
        let mut census = Census::new();
        let count = |tag: Generation| {
            *census.entry(tag).or_insert(0) += 1;
            tag.0
        };
        let tags: Box<[AtomicU32]> = tags.map(count).map(AtomicU32::new).collect();
        let len = tags.len() as u32;
        TagTable::counted(tags, len, census)
    }

    /// A table whose current and committed tags are the first `len` of `current`, of which `census` is the count. Behind them
    /// there may be room to grow into.
    pub fn counted(current: Box<[AtomicU32]>, len: u32, census: Census) -> TagTable {
        let len = atomic::AtomicU32::new(len);
        TagTable { current, len, books: Mutex::new(Books { committed: HashMap::new(), census }) }
    }

    /// Extents of the volume.
    pub fn len(&self) -> u32 {
        self.len.load(Ordering::Acquire)
    }

    /// Whether the volume has no extent; it always has one.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds extents up to `len`, as far as there is room, all of them tagged `generation`.
    pub fn grow(&self, len: u32, generation: Generation) {
        let mut books = self.books.lock().unwrap_or_else(PoisonError::into_inner);
        let (before, len) = (self.len(), len.min(self.current.len() as u32));
        for tag in self.current.get(before as usize..len as usize).unwrap_or_default() {
            tag.store(generation.0, Ordering::Release);
            *books.census.entry(generation).or_insert(0) += 1;
        }
        self.len.fetch_max(len, Ordering::AcqRel);
    }

    /// What I/O uses. Stable while the caller is inside the extent's gate.
    pub fn current(&self, extent: Extent) -> Generation {
        Generation(self.current[extent.0 as usize].load(Ordering::Acquire))
    }

    /// What a durable commit record says.
    pub fn committed(&self, extent: Extent) -> Generation {
        let books = self.books.lock().unwrap_or_else(PoisonError::into_inner);
        books.committed.get(&extent).copied().unwrap_or_else(|| self.current(extent))
    }

    /// The rotation's data write is complete; the commit is not yet durable.
    pub fn set_current(&self, extent: Extent, new: Generation) {
        let mut books = self.books.lock().unwrap_or_else(PoisonError::into_inner);
        let old = self.current(extent);
        books.committed.entry(extent).or_insert(old);
        self.current[extent.0 as usize].store(new.0, Ordering::Release);
        if let Some(count) = books.census.get_mut(&old) {
            *count -= 1;
            if *count == 0 {
                books.census.remove(&old);
            }
        }
        *books.census.entry(new).or_insert(0) += 1;
    }

    /// The commit record is durable: the committed tag is now the current one.
    pub fn commit(&self, extent: Extent) {
        self.books.lock().unwrap_or_else(PoisonError::into_inner).committed.remove(&extent);
    }

    /// Extents by current tag.
    pub fn census(&self) -> Census {
        self.books.lock().unwrap_or_else(PoisonError::into_inner).census.clone()
    }

    /// Counts all current tags and compares with the census: both, if they differ. Nothing moves meanwhile.
    pub fn recount(&self) -> Result<(), [Census; 2]> {
        let books = self.books.lock().unwrap_or_else(PoisonError::into_inner);
        let mut counted = Census::new();
        for tag in &self.current[..self.len() as usize] {
            *counted.entry(Generation(tag.load(Ordering::Acquire))).or_insert(0) += 1;
        }
        if counted == books.census { Ok(()) } else { Err([books.census.clone(), counted]) }
    }

    /// Committed tags of the extents `first..end`, in order, for a checkpoint.
    pub fn committed_range(&self, first: u32, end: u32) -> Vec<Generation> {
        let books = self.books.lock().unwrap_or_else(PoisonError::into_inner);
        let tag = |extent| match books.committed.get(&extent) {
            Some(committed) => rules::checkpointed(*committed, self.current(extent)),
            None => self.current(extent),
        };
        (first..end.min(self.len())).map(Extent).map(tag).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn committed_lags_current_until_commit() {
        let tags = TagTable::new(vec![Generation(1); 3].into_iter());
        tags.set_current(Extent(1), Generation(2));
        assert_eq!((tags.current(Extent(1)), tags.committed(Extent(1))), (Generation(2), Generation(1)));
        assert_eq!(tags.committed_range(0, 9), vec![Generation(1); 3]);
        assert_eq!(tags.census(), BTreeMap::from([(Generation(1), 2), (Generation(2), 1)]));
        tags.commit(Extent(1));
        assert_eq!(tags.committed(Extent(1)), Generation(2));
    }

    #[test]
    fn growth_adds_tags_and_moves_the_end() {
        let tags =
            TagTable::counted([1, 1, 0, 0, 0].map(AtomicU32::new).into(), 2, BTreeMap::from([(Generation(1), 2)]));
        assert_eq!((tags.len(), tags.committed_range(0, 9).len()), (2, 2));
        tags.grow(4, Generation(3));
        assert_eq!(tags.committed_range(0, 9), [1, 1, 3, 3].map(Generation));
        assert_eq!(tags.census(), BTreeMap::from([(Generation(1), 2), (Generation(3), 2)]));
        assert_eq!(tags.recount(), Ok(()));
        tags.grow(4, Generation(5));
        tags.grow(9, Generation(5));
        assert_eq!((tags.len(), tags.current(Extent(4))), (5, Generation(5)), "never beyond its room");
        assert_eq!(tags.recount(), Ok(()));
    }

    #[test]
    fn there_and_back_keeps_the_oldest_committed_tag() {
        let tags = TagTable::new(vec![Generation(1)].into_iter());
        tags.set_current(Extent(0), Generation(2));
        tags.set_current(Extent(0), Generation(1));
        assert_eq!(tags.committed(Extent(0)), Generation(1));
        assert_eq!(tags.census(), BTreeMap::from([(Generation(1), 1)]));
    }
}
