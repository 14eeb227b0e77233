//! The KEKs of a volume in service, which change while it is in service.
//!
//! Invariants: they change all at once; who works with them keeps the list it began with.

use std::sync::{Arc, PoisonError, RwLock};

use crate::keys::kek::Kek;

/// The KEKs of one volume, in the order in which they are tried.
pub struct Keks {
    now: RwLock<Arc<Vec<Kek>>>,
}

impl Keks {
    /// Begins with these.
    pub fn new(keks: Vec<Kek>) -> Keks {
        Keks { now: RwLock::new(Arc::new(keks)) }
    }

    /// Those of now.
    pub fn now(&self) -> Arc<Vec<Kek>> {
        Arc::clone(&self.now.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// From now on these.
    pub fn exchange(&self, keks: Vec<Kek>) {
        *self.now.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(keks);
    }
}
