//! Stands in for `vaes` on CPUs of another kind: never available.

use crate::crypto::secret::Secret;
use crate::crypto::suite::Suite;
use crate::crypto::xex::{Direction, Io, Tweaks, Width};

/// Never.
pub(super) fn is_available(_: Width) -> bool {
    false
}

/// There is none.
pub(super) enum Vaes {}

impl Vaes {
    /// None.
    pub(super) fn new(_: Width, _: Suite, _: &Secret) -> Option<Vaes> {
        None
    }

    /// Cannot be called.
    pub(super) fn crypt(&self, _: Direction, _: Tweaks, _: usize, _: Io<'_>) {
        match *self {}
    }
}
