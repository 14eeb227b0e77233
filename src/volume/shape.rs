//! The shape of an open volume. All of it is fixed but the size, which may grow while clients go on.
//!
//! Invariants: the size never falls, and what it grows by is whole (zeros, tagged, durable) before it is seen; a growth and
//! whoever counts on the size for longer than one request keep each other out.

use std::sync::PoisonError;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Release};

use crate::format::layout::{Shape, WriteMode};
use crate::sync::{Mutex, MutexGuard};

/// The shape, and who counts on its size.
pub(super) struct LiveShape {
    /// As of the open: its size is not to be asked for.
    fixed: Shape,
    size: AtomicU64,
    claims: Mutex<Claims>,
}

#[derive(Default)]
struct Claims {
    growing: bool,
    lookers: u32,
}

impl LiveShape {
    /// The shape of a volume that is being opened.
    pub fn new(shape: Shape) -> LiveShape {
        LiveShape { fixed: shape, size: AtomicU64::new(shape.size), claims: Mutex::default() }
    }

    /// The shape as of now.
    pub fn now(&self) -> Shape {
        Shape { size: self.size.load(Acquire), ..self.fixed }
    }

    /// Bytes of an extent.
    pub fn extent_size(&self) -> u64 {
        self.fixed.extent_size
    }

    /// The unit every device write is a whole multiple of.
    pub fn write_unit(&self) -> u32 {
        self.fixed.write_unit()
    }

    /// How ciphertext is replaced.
    pub fn mode(&self) -> WriteMode {
        self.fixed.mode
    }

    /// From here everybody sees `size`.
    pub fn show(&self, size: u64) {
        self.size.store(size, Release);
    }

    fn claims(&self) -> MutexGuard<'_, Claims> {
        self.claims.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps growth out while the result lives; none if one is under way.
    pub fn look(&self) -> Option<Look<'_>> {
        let mut claims = self.claims();
        if claims.growing {
            return None;
        }
        claims.lookers += 1;
        Some(Look(self))
    }

    /// The right to grow while the result lives; why it cannot be had.
    pub fn claim(&self) -> Result<Claim<'_>, &'static str> {
        let mut claims = self.claims();
        match (claims.growing, claims.lookers) {
            (true, _) => Err("it is growing already"),
            (false, 0) => {
                claims.growing = true;
                Ok(Claim(self))
            }
            _ => Err("it is being checked: grow it when that is done"),
        }
    }
}

/// Somebody counts on the size.
pub(super) struct Look<'a>(&'a LiveShape);

impl Drop for Look<'_> {
    fn drop(&mut self) {
        self.0.claims().lookers -= 1;
    }
}

/// Somebody changes the size.
pub(super) struct Claim<'a>(&'a LiveShape);

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        self.0.claims().growing = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_and_lookers_keep_each_other_out() {
        let live = LiveShape::new(Shape {
            size: 1 << 20,
            max_size: 2 << 20,
            extent_size: 64 << 10,
            data_unit: 4096,
            granule: 4096,
            mode: WriteMode::InPlace,
        });
        let (one, two) = (live.look().unwrap(), live.look().unwrap());
        assert!(live.claim().is_err());
        drop(one);
        assert!(live.claim().is_err(), "one still looks");
        drop(two);
        let claim = live.claim().unwrap();
        assert!(live.look().is_none() && live.claim().is_err());
        live.show(2 << 20);
        drop(claim);
        assert!(live.look().is_some());
        assert_eq!(live.now().size, 2 << 20);
    }
}
