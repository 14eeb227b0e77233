//! A keeper that hides nothing: it stores keys as they are, so that thousands of volumes open fast.

use crate::crypto::Secret;
use crate::format::wrapped::Wrapped;
use crate::keys::{KekDescription, KekProvider, KeyError, ProviderKind, WrapPurpose};

pub struct OpenKek(KekDescription);

impl OpenKek {
    /// The list of keepers that `create` and `open` take.
    pub fn list() -> Vec<Box<dyn KekProvider>> {
        let description =
            KekDescription { kind: ProviderKind::File, label: "test".into(), kek_id: Some("test".into()) };
        vec![Box::new(OpenKek(description))]
    }
}

impl KekProvider for OpenKek {
    fn describe(&self) -> &KekDescription {
        &self.0
    }

    fn wrap(&self, _: &WrapPurpose, key: &Secret) -> Result<Wrapped, KeyError> {
        let blob = key.expose().to_vec();
        Ok(Wrapped { provider: ProviderKind::File.id(), kek_id: "test".into(), kek_version: 0, blob })
    }

    fn unwrap(&self, _: &WrapPurpose, wrapped: &Wrapped) -> Result<Secret, KeyError> {
        Ok(Secret::filled(wrapped.blob.len(), |bytes| bytes.copy_from_slice(&wrapped.blob)))
    }

    fn could_open(&self, _: &Wrapped) -> bool {
        true
    }
}
