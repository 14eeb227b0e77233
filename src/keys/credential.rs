//! A KEK in a systemd credential: a key file that the service manager decrypted for this unit alone.
//!
//! `LoadCredentialEncrypted=kek:/etc/keymoult/kek.cred` in the unit, and `systemd-cred:kek` here. The file lies in
//! `$CREDENTIALS_DIRECTORY`, in memory that is not swapped, and only this unit's user reads it; at rest it is encrypted with the
//! machine's TPM or its own secret (`systemd-creds encrypt --name=kek kek /etc/keymoult/kek.cred`).
//!
//! Invariants: as for key files; besides, systemd lets the unit's user in by an access list on a file of root's, whose mode
//! then reads 0440, so that the group may read if owner and group are root.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::crypto::Secret;
use crate::format::wrapped::Wrapped;
use crate::keys::error::KeyError;
use crate::keys::key_file::{self, Privacy};
use crate::keys::provider::{Answer, Capabilities, KekDescription, KekProvider, ProviderKind, WrapPurpose};
use crate::keys::seal::{HeldKek, KEK_VERSION};

/// Where the service manager says that credentials are.
pub(super) const DIRECTORY: &str = "CREDENTIALS_DIRECTORY";
/// Longest name of a credential, as systemd has it.
const NAME_MAX: usize = 255;

/// Whether systemd takes that for the name of a credential.
pub(super) fn is_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_graphic() && c != '/' && c != ':';
    !matches!(name, "" | "." | "..") && name.len() <= NAME_MAX && name.chars().all(plain)
}

/// The KEK of one credential, read once.
pub struct CredentialKek {
    held: HeldKek,
    description: KekDescription,
}

impl CredentialKek {
    /// Reads the credential `name` of this unit.
    ///
    /// # Errors
    /// [`KeyError::NoCredentials`] outside a unit with credentials, else as [`FileKek::open`](crate::keys::FileKek::open).
    pub fn open(name: &str) -> Result<CredentialKek, KeyError> {
        CredentialKek::in_directory(std::env::var_os(DIRECTORY), name)
    }

    pub(super) fn in_directory(directory: Option<OsString>, name: &str) -> Result<CredentialKek, KeyError> {
        let directory = directory.map(PathBuf::from).filter(|path| path.is_absolute());
        let Some(directory) = directory else { return Err(KeyError::NoCredentials { name: name.to_owned() }) };
        let kek = read(&directory.join(name))?;
        let held = HeldKek::new(kek, "cred-");
        let description = KekDescription {
            kind: ProviderKind::SystemdCred,
            label: format!("systemd-cred:{name}"),
            kek_id: Some(held.id.clone()),
        };
        Ok(CredentialKek { held, description })
    }
}

fn read(path: &Path) -> Result<Secret, KeyError> {
    key_file::read_kek("credential", path, Privacy::OfCredential)
}

impl KekProvider for CredentialKek {
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
        let (provider, kek_id) = (ProviderKind::SystemdCred.id(), self.held.id.clone());
        let blob = self.held.seal(purpose, key)?;
        Ok(Wrapped { provider, kek_id, kek_version: KEK_VERSION, blob }.into())
    }

    fn unwrap(&self, purpose: &WrapPurpose, wrapped: &Wrapped) -> Result<Answer<Secret>, KeyError> {
        let label = &self.description.label;
        ProviderKind::SystemdCred.check(wrapped, purpose, label)?;
        self.held.check(wrapped, label)?;
        Ok(self.held.open(purpose, &wrapped.blob, label)?.into())
    }

    fn could_open(&self, wrapped: &Wrapped) -> bool {
        wrapped.provider == ProviderKind::SystemdCred.id() && wrapped.kek_id == self.held.id
    }
}
