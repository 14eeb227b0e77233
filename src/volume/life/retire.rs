//! Retiring a generation: the proof that nothing needs its key, and then the key leaves memory.
//!
//! Order: (1) no request that began before holds the key any more: nothing tags an extent with an empty generation, so none
//! that begins later gets it; (2) tags and ring, read from the device behind a checkpoint, do not name it; (3) the signed
//! statement is kept by whoever keeps such things; (4) **the commit point**: the generation is *disabled*, with the
//! statement's digest; (5) the key leaves memory. A crash before (4) leaves it as it was, one behind (4) has no key to load.

use std::sync::Arc;
use std::time::Duration;

use super::statement::{Statement, Verdict};
use super::{By, Clock, Step, entry_of};
use crate::units::Generation;
use crate::volume::Volume;
use crate::volume::error::VolumeError;

/// How long requests under way may hold a key that is to be retired.
pub(super) const FENCE_PATIENCE: Duration = Duration::from_secs(10);

/// What retiring came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retired {
    /// The statement.
    pub statement: Statement,
    /// Its SHA-256, which the generation table holds.
    pub digest: [u8; 32],
    /// Whether the key was seen to have left memory.
    pub left_memory: bool,
}

impl Volume {
    /// Proves that nothing needs the key of `generation` and takes it out of memory. `keep` is given the signed statement
    /// and must have kept it, durably, when it returns.
    ///
    /// # Errors
    /// The step is not allowed, something needs the key after all, or the statement could not be kept. Nothing has changed.
    pub fn retire(
        self: &Arc<Self>,
        generation: Generation,
        by: &By,
        clock: &dyn Clock,
        keep: &mut dyn FnMut(&Statement, &str) -> Result<(), VolumeError>,
    ) -> Result<Retired, VolumeError> {
        self.may(generation, Step::Retire)?;
        let refused = |why: String| VolumeError::Refused(format!("generation {generation} cannot be retired: {why}"));
        if self.rotation().rollback_to == Some(generation) {
            return Err(refused("the rotation on record goes back to it: finalize that first".into()));
        }
        let Some(fenced) = self.fence(generation, clock) else {
            return Err(refused("requests that began before still hold its key: try again".into()));
        };
        let scan = self.scan()?;
        if let Some(what) = scan.references(generation) {
            return Err(refused(what));
        }
        let (entry, holders) = {
            let meta = self.meta();
            (entry_of(&meta.table, generation)?.clone(), meta.table.holders.clone())
        };
        let statement = Statement::of(self.id, &entry, &scan, &holders, by);
        let digest = statement.digest()?;
        keep(&statement, &statement.sign(&self.statement_key)?)?;
        let taken = self.take(generation, Step::Retire, by, |entry| entry.life.evidence = digest);
        self.unload_if_closed(generation);
        taken?;
        Ok(Retired { statement, digest, left_memory: fenced.left_memory(clock) })
    }

    /// Checks a statement that [`Volume::retire`] has signed.
    ///
    /// # Errors
    /// It is none.
    pub fn verify_statement(&self, text: &str) -> Result<Verdict, VolumeError> {
        let (statement, authentic) = Statement::open(text, &self.statement_key)?;
        let digest = statement.digest()?;
        let authentic = authentic && statement.volume == self.id.to_string();
        let meta = self.meta();
        let entry = meta.table.entry(Generation(statement.generation));
        let on_record = authentic && entry.is_some_and(|entry| entry.life.evidence == digest);
        Ok(Verdict { statement, digest, authentic, on_record })
    }
}
