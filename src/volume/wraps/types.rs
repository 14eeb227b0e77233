//! What is asked of a change of wraps, and what it tells.

use crate::format::wrapped::Wrapped;
use crate::keys::Kek;
use crate::units::Generation;

/// The name of a wrap within its key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct WrapId {
    /// Kind of the keeper, as stored.
    pub provider: u8,
    /// Id of the KEK.
    pub kek_id: String,
    /// Its version.
    pub kek_version: u32,
}

impl WrapId {
    /// The name of `wrap`.
    pub fn of(wrap: &Wrapped) -> WrapId {
        WrapId { provider: wrap.provider, kek_id: wrap.kek_id.clone(), kek_version: wrap.kek_version }
    }
}

/// A KEK that shall open the volume, too.
#[derive(Clone, Copy)]
pub struct Addition<'a> {
    /// It.
    pub kek: &'a Kek,
    /// Whether its wraps come before all others, which makes the others fallbacks.
    pub first: bool,
}

/// Wraps that shall go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Removal {
    /// None.
    Nothing,
    /// Those that open the keys now.
    InUse,
    /// Those by this KEK: its id, or its URI as it was given.
    By(String),
}

/// A change of the wraps.
#[derive(Clone)]
pub struct WrapChange<'a> {
    /// What is added.
    pub add: Option<Addition<'a>>,
    /// What is removed, once what is added is proven.
    pub remove: Removal,
    /// The only generation concerned; all, the metadata key included, if none.
    pub generation: Option<Generation>,
}

/// How far a change is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The keys are opened, and wrapped by the new KEK; nothing is written yet.
    Wrapped,
    /// The new wraps are durable beside the old ones.
    Added,
    /// They are proven; the old ones go now.
    Proven,
    /// The old ones are gone.
    Removed,
}

/// What became of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyWraps {
    /// Whose key.
    pub generation: Generation,
    /// Its new wrap.
    pub added: Option<WrapId>,
    /// Wraps it has no more.
    pub removed: Vec<WrapId>,
    /// Wraps it has.
    pub wraps: Vec<WrapId>,
}

/// What a change did.
pub struct WrapsChanged {
    /// Key by key.
    pub keys: Vec<KeyWraps>,
    /// The KEKs that open the volume from now on.
    pub keks: Vec<Kek>,
    /// KEKs given before that open nothing any more, as the operator named them.
    pub retired: Vec<String>,
    /// Bytes of the zone that were read and hold no removed wrap; or the generations whose removed wrap is still there.
    pub swept: Result<u64, Vec<Generation>>,
}

impl WrapsChanged {
    /// Whether it did anything.
    pub fn is_change(&self) -> bool {
        self.keys.iter().any(|key| key.added.is_some() || !key.removed.is_empty())
    }
}
