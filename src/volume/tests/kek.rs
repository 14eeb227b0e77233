//! A keeper that hides nothing: it stores keys as they are, so that thousands of volumes open fast.

use crate::crypto::Secret;
use crate::format::wrapped::Wrapped;
use crate::keys::{Answer, Capabilities, Kek, KekDescription, KekProvider, KeyError, ProviderKind, WrapPurpose};

pub struct OpenKek(KekDescription);

impl OpenKek {
    /// The list of keepers that `create` and `open` take.
    pub fn list() -> Vec<Kek> {
        let description =
            KekDescription { kind: ProviderKind::File, label: "test".into(), kek_id: Some("test".into()) };
        vec![Kek::unwitnessed(OpenKek(description))]
    }
}

impl KekProvider for OpenKek {
    fn describe(&self) -> &KekDescription {
        &self.0
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::HELD
    }

    fn probe(&self) -> Result<(), KeyError> {
        Ok(())
    }

    fn wrap(&self, _: &WrapPurpose, key: &Secret) -> Result<Answer<Wrapped>, KeyError> {
        let blob = key.expose().to_vec();
        Ok(Wrapped { provider: ProviderKind::File.id(), kek_id: "test".into(), kek_version: 0, blob }.into())
    }

    fn unwrap(&self, _: &WrapPurpose, wrapped: &Wrapped) -> Result<Answer<Secret>, KeyError> {
        Ok(Secret::filled(wrapped.blob.len(), |bytes| bytes.copy_from_slice(&wrapped.blob)).into())
    }

    fn could_open(&self, _: &Wrapped) -> bool {
        true
    }
}
