//! A KEK and its witness: told before, told after, and able to refuse.

use std::sync::{Arc, Mutex};

use crate::crypto::Secret;
use crate::format::wrapped::Wrapped;
use crate::keys::tests::{PURPOSE, data_key};
use crate::keys::{
    Answer, Capabilities, Kek, KekDescription, KekProvider, KeyAct, KeyError, KeyErrorClass, KeyUse, ProviderKind,
    Witness, WrapPurpose,
};

type Story = Arc<Mutex<Vec<String>>>;

/// A keeper elsewhere, which numbers its requests.
struct Remote {
    description: KekDescription,
    story: Story,
    down: bool,
}

impl Remote {
    fn asked<T>(&self, what: &str, value: T) -> Result<Answer<T>, KeyError> {
        self.story.lock().unwrap().push(format!("keeper: {what}"));
        if self.down {
            let (kek, reason) = (self.description.label.clone(), "it does not answer".into());
            return Err(KeyError::Remote { kek, class: KeyErrorClass::Unreachable, reason, source: None });
        }
        Ok(Answer { value, request_id: Some(format!("{what}-17")) })
    }
}

impl KekProvider for Remote {
    fn describe(&self) -> &KekDescription {
        &self.description
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { held_here: false, ..Capabilities::HELD }
    }

    fn probe(&self) -> Result<(), KeyError> {
        self.asked("probe", ()).map(|_| ())
    }

    fn wrap(&self, _: &WrapPurpose, key: &Secret) -> Result<Answer<Wrapped>, KeyError> {
        let blob = key.expose().to_vec();
        self.asked("wrap", Wrapped { provider: 4, kek_id: "remote".into(), kek_version: 1, blob })
    }

    fn unwrap(&self, _: &WrapPurpose, wrapped: &Wrapped) -> Result<Answer<Secret>, KeyError> {
        self.asked("unwrap", Secret::filled(wrapped.blob.len(), |bytes| bytes.copy_from_slice(&wrapped.blob)))
    }

    fn could_open(&self, _: &Wrapped) -> bool {
        true
    }
}

struct Clerk {
    story: Story,
    refuses: bool,
}

impl Witness for Clerk {
    fn before(&self, usage: &KeyUse<'_>) -> Result<u64, KeyError> {
        let act = if usage.act == KeyAct::Wrap { "wrap" } else { "unwrap" };
        self.story.lock().unwrap().push(format!("before {act} of {} by {}", usage.purpose.generation, usage.kek.label));
        match self.refuses {
            true => Err(KeyError::Unrecorded { source: "no space".into() }),
            false => Ok(5),
        }
    }

    fn after(&self, number: u64, _: &KeyUse<'_>, outcome: Result<Option<&str>, &KeyError>) {
        self.story.lock().unwrap().push(format!("after {number}: {:?}", outcome.map_err(ToString::to_string)));
    }
}

fn kek(down: bool, refuses: bool) -> (Kek, Story) {
    let story = Story::default();
    let description = KekDescription { kind: ProviderKind::Vault, label: "vault:k".into(), kek_id: None };
    let keeper = Box::new(Remote { description, story: Arc::clone(&story), down });
    (Kek::new(keeper, Some(Arc::new(Clerk { story: Arc::clone(&story), refuses }))), story)
}

#[test]
fn the_witness_hears_first_and_then_how_it_went() {
    let (kek, story) = kek(false, false);
    let key = data_key();
    let wrapped = kek.wrap(&PURPOSE, &key).unwrap();
    assert!(kek.unwrap(&PURPOSE, &wrapped).unwrap().ct_eq(&key));
    let told = story.lock().unwrap().join("\n");
    assert_eq!(
        told,
        "before wrap of 3 by vault:k\nkeeper: wrap\nafter 5: Ok(Some(\"wrap-17\"))\n\
         before unwrap of 3 by vault:k\nkeeper: unwrap\nafter 5: Ok(Some(\"unwrap-17\"))"
    );
}

#[test]
fn what_cannot_be_recorded_is_not_asked_for() {
    let (kek, story) = kek(false, true);
    assert!(matches!(kek.wrap(&PURPOSE, &data_key()), Err(KeyError::Unrecorded { .. })));
    assert_eq!(story.lock().unwrap().join("\n"), "before wrap of 3 by vault:k");
}

#[test]
fn the_witness_hears_of_failures() {
    let (kek, story) = kek(true, false);
    assert!(kek.wrap(&PURPOSE, &data_key()).is_err());
    assert_eq!(story.lock().unwrap().last().unwrap(), "after 5: Err(\"vault:k: it does not answer\")");
}
