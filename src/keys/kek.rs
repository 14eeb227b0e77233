//! A KEK as the rest of the program has it: its keeper, and a witness of every use.
//!
//! Invariants: there is no way to a keeper's `wrap` and `unwrap` but through here, so no key is used unseen; the witness is
//! told before the keeper is asked, and may refuse; afterwards it learns how it went, with the keeper's request id. What is
//! tried again (`patience`) is witnessed again: one request to a keeper, one record.

use std::sync::Arc;

use crate::crypto::Secret;
use crate::format::wrapped::Wrapped;
use crate::keys::error::KeyError;
use crate::keys::patience::Patience;
use crate::keys::provider::{Answer, Capabilities, KekDescription, KekProvider, WrapPurpose};

/// What is done with a KEK.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyAct {
    /// A key is wrapped by it.
    Wrap,
    /// A wrapped key is opened by it.
    Unwrap,
}

/// One use of a KEK.
#[derive(Clone, Copy, Debug)]
pub struct KeyUse<'a> {
    /// What is done.
    pub act: KeyAct,
    /// To which key.
    pub purpose: &'a WrapPurpose,
    /// By which KEK.
    pub kek: &'a KekDescription,
}

/// Who is told of every use of a KEK.
pub trait Witness: Send + Sync {
    /// It is about to happen; the number comes back in [`Witness::after`].
    ///
    /// # Errors
    /// It must not happen, because it cannot be recorded.
    fn before(&self, usage: &KeyUse<'_>) -> Result<u64, KeyError>;

    /// It happened, under the keeper's request id if there is one, or failed.
    fn after(&self, number: u64, usage: &KeyUse<'_>, outcome: Result<Option<&str>, &KeyError>);
}

/// A KEK, ready to use. A clone is the same KEK, with the same keeper.
#[derive(Clone)]
pub struct Kek {
    keeper: Arc<dyn KekProvider>,
    witness: Option<Arc<dyn Witness>>,
    patience: Arc<Patience>,
}

impl Kek {
    /// A KEK whose every use `witness` is told of, if there is one: a tool that keeps no record has none.
    pub fn new(keeper: Box<dyn KekProvider>, witness: Option<Arc<dyn Witness>>) -> Kek {
        Kek { keeper: Arc::from(keeper), witness, patience: Arc::default() }
    }

    /// A KEK whose uses nobody is told of, for tests.
    pub fn unwitnessed(keeper: impl KekProvider + 'static) -> Kek {
        Kek::new(Box::new(keeper), None)
    }

    /// The same KEK, tried as long as `patience` says.
    #[must_use]
    pub fn with_patience(self, patience: Patience) -> Kek {
        Kek { patience: Arc::new(patience), ..self }
    }

    /// What it is.
    pub fn describe(&self) -> &KekDescription {
        self.keeper.describe()
    }

    /// What its keeper can do.
    pub fn capabilities(&self) -> Capabilities {
        self.keeper.capabilities()
    }

    /// Asks whether the KEK can be had and used now; opens nothing.
    ///
    /// # Errors
    /// As [`KekProvider::probe`].
    pub fn probe(&self) -> Result<(), KeyError> {
        self.patience.run(|| self.keeper.probe())
    }

    /// Whether trying to open `wrapped` makes sense: cheap, and no promise.
    pub fn could_open(&self, wrapped: &Wrapped) -> bool {
        self.keeper.could_open(wrapped)
    }

    /// Wraps `key` for `purpose`.
    ///
    /// # Errors
    /// As [`KekProvider::wrap`], or the witness refuses.
    pub fn wrap(&self, purpose: &WrapPurpose, key: &Secret) -> Result<Wrapped, KeyError> {
        self.patience.run(|| self.witnessed(KeyAct::Wrap, purpose, || self.keeper.wrap(purpose, key)))
    }

    /// Opens a wrap made for `purpose`.
    ///
    /// # Errors
    /// As [`KekProvider::unwrap`], or the witness refuses.
    pub fn unwrap(&self, purpose: &WrapPurpose, wrapped: &Wrapped) -> Result<Secret, KeyError> {
        self.patience.run(|| self.witnessed(KeyAct::Unwrap, purpose, || self.keeper.unwrap(purpose, wrapped)))
    }

    fn witnessed<T>(
        &self,
        act: KeyAct,
        purpose: &WrapPurpose,
        ask: impl FnOnce() -> Result<Answer<T>, KeyError>,
    ) -> Result<T, KeyError> {
        let Some(witness) = &self.witness else { return Ok(ask()?.value) };
        let usage = KeyUse { act, purpose, kek: self.keeper.describe() };
        let number = witness.before(&usage)?;
        let answer = ask();
        witness.after(number, &usage, answer.as_ref().map(|answer| answer.request_id.as_deref()));
        Ok(answer?.value)
    }
}
