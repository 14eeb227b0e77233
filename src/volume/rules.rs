//! The rules of the scheme that a test build may drop, one function each, to show that the harnesses notice.
//!
//! In every other build the functions are the rules themselves.

use super::flush::FlushGroup;
use crate::units::Extent;

/// R0: an extent may be taken only if its last client write is behind a flush that started after it completed.
pub fn r0_holds(flushes: &FlushGroup, extent: Extent) -> bool {
    flushes.is_clean(extent)
}
