//! A KEK, its witness and its patience: each try is a use of its own, and the witness knows of it before the keeper.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::crypto::Secret;
use crate::format::wrapped::Wrapped;
use crate::keys::tests::{PURPOSE, data_key};
use crate::keys::{
    Answer, Capabilities, Clock, Kek, KekDescription, KekProvider, KeyAct, KeyError, KeyErrorClass, KeyUse, Patience,
    ProviderKind, Witness, WrapPurpose,
};

/// What happened, in order.
type Story = Arc<Mutex<Vec<String>>>;

/// A keeper that fails in these ways, one after the other, and then succeeds.
struct Moody {
    description: KekDescription,
    failures: Vec<KeyErrorClass>,
    asked: AtomicUsize,
    story: Story,
}

impl Moody {
    fn ask(&self) -> Result<Option<String>, KeyError> {
        let number = self.asked.fetch_add(1, Ordering::Relaxed);
        self.story.lock().unwrap().push("asked".into());
        match self.failures.get(number) {
            None => Ok(Some(format!("request-{number}"))),
            Some(class) => {
                let (kek, reason) = (self.description.label.clone(), format!("{class:?}"));
                Err(KeyError::Remote { kek, class: *class, reason, source: None })
            }
        }
    }
}

impl KekProvider for Moody {
    fn describe(&self) -> &KekDescription {
        &self.description
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::HELD
    }

    fn probe(&self) -> Result<(), KeyError> {
        self.ask().map(drop)
    }

    fn wrap(&self, _: &WrapPurpose, _: &Secret) -> Result<Answer<Wrapped>, KeyError> {
        let request_id = self.ask()?;
        let value = Wrapped { provider: ProviderKind::Vault.id(), kek_id: "k".into(), kek_version: 1, blob: vec![1] };
        Ok(Answer { value, request_id })
    }

    fn unwrap(&self, _: &WrapPurpose, _: &Wrapped) -> Result<Answer<Secret>, KeyError> {
        Ok(Answer { request_id: self.ask()?, value: data_key() })
    }

    fn could_open(&self, _: &Wrapped) -> bool {
        true
    }
}

struct Scribe(Story);

impl Witness for Scribe {
    fn before(&self, usage: &KeyUse<'_>) -> Result<u64, KeyError> {
        let verb = if usage.act == KeyAct::Wrap { "wrap" } else { "unwrap" };
        self.0.lock().unwrap().push(format!("intent to {verb}"));
        Ok(1)
    }

    fn after(&self, _: u64, _: &KeyUse<'_>, outcome: Result<Option<&str>, &KeyError>) {
        let text = match outcome {
            Ok(request) => format!("done as {}", request.unwrap_or("nothing")),
            Err(error) => format!("failed: {error}"),
        };
        self.0.lock().unwrap().push(text);
    }
}

/// A clock that stands still, and passes for sleeping.
struct Still;

impl Clock for Still {
    fn now(&self) -> Duration {
        Duration::ZERO
    }

    fn sleep(&self, _: Duration) {}

    fn random(&self) -> u32 {
        0
    }
}

fn moody(failures: &[KeyErrorClass]) -> (Kek, Story) {
    let story = Story::default();
    let description = KekDescription { kind: ProviderKind::Vault, label: "vault://k".into(), kek_id: None };
    let keeper =
        Moody { description, failures: failures.to_vec(), asked: AtomicUsize::new(0), story: Arc::clone(&story) };
    let kek = Kek::new(Box::new(keeper), Some(Arc::new(Scribe(Arc::clone(&story)))));
    (kek.with_patience(Patience::with(Duration::from_secs(3), Arc::new(Still))), story)
}

#[test]
fn every_try_is_witnessed_before_and_after() {
    let (kek, story) = moody(&[KeyErrorClass::Sealed, KeyErrorClass::Unreachable]);
    kek.wrap(&PURPOSE, &data_key()).unwrap();
    let told = [
        ("intent to wrap", "failed: vault://k: Sealed"),
        ("intent to wrap", "failed: vault://k: Unreachable"),
        ("intent to wrap", "done as request-2"),
    ];
    let wanted: Vec<&str> = told.iter().flat_map(|(intent, outcome)| [*intent, "asked", *outcome]).collect();
    assert_eq!(*story.lock().unwrap(), wanted);
}

#[test]
fn what_is_tampered_with_is_asked_once_and_told() {
    let (kek, story) = moody(&[KeyErrorClass::Tampered]);
    let wrapped = Wrapped { provider: ProviderKind::Vault.id(), kek_id: "k".into(), kek_version: 1, blob: vec![1] };
    assert!(kek.unwrap(&PURPOSE, &wrapped).is_err());
    assert_eq!(*story.lock().unwrap(), ["intent to unwrap", "asked", "failed: vault://k: Tampered"]);
}

/// A witness that can take no records.
struct Deaf;

impl Witness for Deaf {
    fn before(&self, _: &KeyUse<'_>) -> Result<u64, KeyError> {
        Err(KeyError::Unrecorded { source: "no space".into() })
    }

    fn after(&self, _: u64, _: &KeyUse<'_>, _: Result<Option<&str>, &KeyError>) {
        panic!("nothing happened");
    }
}

#[test]
fn what_cannot_be_recorded_is_not_asked_for() {
    let story = Story::default();
    let description = KekDescription { kind: ProviderKind::Vault, label: "vault://k".into(), kek_id: None };
    let keeper = Moody { description, failures: Vec::new(), asked: AtomicUsize::new(0), story: Arc::clone(&story) };
    let kek = Kek::new(Box::new(keeper), Some(Arc::new(Deaf)));
    assert!(matches!(kek.wrap(&PURPOSE, &data_key()), Err(KeyError::Unrecorded { .. })));
    assert!(story.lock().unwrap().is_empty());
}
