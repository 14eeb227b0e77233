//! A KEK in a key file.

use std::path::Path;

use crate::crypto::Secret;
use crate::format::wrapped::Wrapped;
use crate::keys::error::KeyError;
use crate::keys::key_file::{self, Privacy};
use crate::keys::provider::{Answer, Capabilities, KekDescription, KekProvider, ProviderKind, WrapPurpose};
use crate::keys::seal::{HeldKek, KEK_VERSION};

/// The KEK of one key file, read once.
pub struct FileKek {
    held: HeldKek,
    description: KekDescription,
}

impl FileKek {
    /// Reads the key file at `path`.
    ///
    /// # Errors
    /// The file is missing, unreadable, no regular file, open to others than its owner, owned by someone else than root or
    /// the running user, or no key file.
    pub fn open(path: &Path) -> Result<FileKek, KeyError> {
        Ok(FileKek::of(path, key_file::read_kek("key file", path, Privacy::OfFile)?))
    }

    /// Makes a key file at `path` with a fresh random KEK; durable when this returns.
    ///
    /// # Errors
    /// [`KeyError::Exists`] if there is anything at `path`; [`KeyError::Create`] if the file cannot be made, in which
    /// case none is left.
    pub fn create(path: &Path) -> Result<FileKek, KeyError> {
        Ok(FileKek::of(path, key_file::create(path)?))
    }

    fn of(path: &Path, kek: Secret) -> FileKek {
        let held = HeldKek::new(kek, "file-");
        let description = KekDescription {
            kind: ProviderKind::File,
            label: format!("file:{}", path.display()),
            kek_id: Some(held.id.clone()),
        };
        FileKek { held, description }
    }
}

impl KekProvider for FileKek {
    fn describe(&self) -> &KekDescription {
        &self.description
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::HELD
    }

    fn probe(&self) -> Result<(), KeyError> {
        Ok(())
    }

    fn wrap(&self, purpose: &WrapPurpose, key: &Secret) -> Result<Answer<Wrapped>, KeyError> {
        Ok(Wrapped {
            provider: ProviderKind::File.id(),
            kek_id: self.held.id.clone(),
            kek_version: KEK_VERSION,
            blob: self.held.seal(purpose, key)?,
        }
        .into())
    }

    fn unwrap(&self, purpose: &WrapPurpose, wrapped: &Wrapped) -> Result<Answer<Secret>, KeyError> {
        ProviderKind::File.check(wrapped, purpose, &self.description.label)?;
        self.held.check(wrapped, &self.description.label)?;
        Ok(self.held.open(purpose, &wrapped.blob, &self.description.label)?.into())
    }

    fn could_open(&self, wrapped: &Wrapped) -> bool {
        wrapped.provider == ProviderKind::File.id() && wrapped.kek_id == self.held.id
    }
}
