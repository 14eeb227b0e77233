//! Keys that a seat's volume waits for: one thread asks keepers for them, another one takes the steps that need them.
//!
//! Invariants: a generation is asked for once at a time, and an answer serves one step; an answer that a whole convergence had no
//! use for is forgotten, for what wanted it is not on record any more.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::units::Generation;

/// What came of asking.
type Had = Result<(), String>;

/// What is being asked for, and answers that nobody has used yet.
#[derive(Default)]
pub struct Asks(Mutex<BTreeMap<Generation, Option<Had>>>);

impl Asks {
    fn all(&self) -> MutexGuard<'_, BTreeMap<Generation, Option<Had>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Uses the answer; if there is none, `ask` has it asked for, unless it is being asked for already.
    ///
    /// # Errors
    /// There is no answer yet, or the keeper did not give the key.
    pub fn take(&self, generation: Generation, ask: impl FnOnce() -> bool) -> Result<(), String> {
        let mut all = self.all();
        match all.remove(&generation) {
            Some(Some(had)) => had,
            under_way => {
                if under_way.is_some() || ask() {
                    all.insert(generation, None);
                }
                Err(format!("the key of generation {generation} is being asked of its keeper"))
            }
        }
    }

    /// The keeper has answered.
    pub fn answered(&self, generation: Generation, had: Had) {
        self.all().insert(generation, Some(had));
    }

    /// Whether an answer is waited for, or has come and is not used yet.
    pub fn is_asking(&self) -> bool {
        !self.all().is_empty()
    }

    /// Generations with an answer that nobody has used.
    pub fn at_hand(&self) -> Vec<Generation> {
        let all = self.all();
        all.iter().filter(|(_, had)| had.is_some()).map(|(generation, _)| *generation).collect()
    }

    /// Forgets answers to these, if they are still there; which those were.
    pub fn forget(&self, generations: &[Generation]) -> Vec<Generation> {
        let mut all = self.all();
        let left = |generation: &&Generation| all.get(generation).is_some_and(Option::is_some);
        let left: Vec<Generation> = generations.iter().filter(left).copied().collect();
        left.iter().for_each(|generation| drop(all.remove(generation)));
        left
    }
}
