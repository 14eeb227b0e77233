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

/// A keeper with a name, whose wraps open with it alone.
pub struct NamedKek {
    description: KekDescription,
    /// What it wraps does not open to the same key.
    slips: bool,
}

impl NamedKek {
    pub fn kek(name: &str, slips: bool) -> Kek {
        let kek_id = Some(name.to_owned());
        let description = KekDescription { kind: ProviderKind::File, label: format!("file:/{name}"), kek_id };
        Kek::unwitnessed(NamedKek { description, slips })
    }

    fn name(&self) -> &str {
        self.description.kek_id.as_deref().unwrap_or_default()
    }

    fn turned(&self, bytes: &[u8]) -> Vec<u8> {
        let mask = self.name().bytes().cycle();
        bytes.iter().zip(mask).map(|(byte, mask)| byte ^ mask ^ 0x80).collect()
    }
}

impl KekProvider for NamedKek {
    fn describe(&self) -> &KekDescription {
        &self.description
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::HELD
    }

    fn probe(&self) -> Result<(), KeyError> {
        Ok(())
    }

    fn wrap(&self, _: &WrapPurpose, key: &Secret) -> Result<Answer<Wrapped>, KeyError> {
        let mut blob = self.turned(key.expose());
        blob[0] ^= u8::from(self.slips);
        Ok(Wrapped { provider: ProviderKind::File.id(), kek_id: self.name().into(), kek_version: 0, blob }.into())
    }

    fn unwrap(&self, purpose: &WrapPurpose, wrapped: &Wrapped) -> Result<Answer<Secret>, KeyError> {
        if wrapped.kek_id != self.name() {
            return Err(KeyError::BadWrap { generation: purpose.generation.0, reason: "it is another KEK's" });
        }
        let key = self.turned(&wrapped.blob);
        Ok(Secret::filled(key.len(), |bytes| bytes.copy_from_slice(&key)).into())
    }

    fn could_open(&self, wrapped: &Wrapped) -> bool {
        wrapped.kek_id == self.name()
    }
}
