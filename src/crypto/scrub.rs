//! Wiping what a finished call left on the stack.
//!
//! Key schedules and hash states pass over the stack while a key is made ready, and stay there until something else is written
//! over them. Whoever makes a key ready calls [`scrub_stack`] afterwards, from a frame above the one that did it.
//!
//! Not covered: registers, and what the vector code spills while data is encrypted (that is wiped by the next such call only);
//! neither is in a core, since none is made.

use std::hint::black_box;

use zeroize::Zeroize;

/// Deeper than any of our calls that handle keys goes (Argon2id and key expansion stay below a third of it).
const DEPTH: usize = 32 << 10;

/// Overwrites the stack below the caller.
#[inline(never)]
pub(super) fn scrub_stack() {
    let mut room = [0u8; DEPTH];
    black_box(&mut room).zeroize();
    black_box(&room);
}
