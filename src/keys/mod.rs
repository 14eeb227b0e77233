//! Key-encryption keys (KEKs) and who keeps them.
//!
//! | file | what it holds |
//! |---|---|
//! | `uri` | how an operator names a KEK: `file:PATH`, `passphrase:`, … |
//! | `provider` | the small interface every keeper implements |
//! | `kek`, `keks` | a keeper and the witness of its every use: what the rest of the program has; those of a volume in service |
//! | `file`, `key_file` | a KEK in a file: the provider, and the file itself |
//! | `credential` | a KEK in a file that systemd decrypted for this unit |
//! | `passphrase`, `prompt` | a KEK from a passphrase: the provider, and asking for it on a terminal |
//! | `escrow` | keys sealed to recipients of another domain, and the keeper that gives them back |
//! | `passed` | secrets from descriptors |
//! | `pkcs11` | a KEK in an HSM: it stays there |
//! | `vault` | a KEK in Vault's or OpenBao's Transit engine |
//! | `kmip` | a KEK in a KMIP server |
//! | `net` | what both have in common: addresses, TLS, deadlines |
//! | `patience` | trying again, where that can help |
//! | `seal` | what those that hold their KEK have in common: AES-256-KWP under a KEK this process holds |
//! | `error` | every way it fails, in classes the daemon tells apart |
//!
//! Invariants: this layer knows no volumes beyond the names in a [`WrapPurpose`]; a KEK is held in locked memory and
//! never printed; nothing here is called per I/O. What comes out of an unwrap has been authenticated together with its purpose, and a
//! data key additionally has Key_1 ≠ Key_2.

mod credential;
mod error;
pub mod escrow;
mod file;
mod kek;
mod keks;
mod key_file;
pub mod kmip;
mod net;
mod passed;
mod passphrase;
mod patience;
mod pkcs11;
mod prompt;
mod provider;
mod seal;
mod uri;
pub mod vault;

#[cfg(test)]
mod tests;

pub use credential::CredentialKek;
pub use error::{KeyError, KeyErrorClass};
pub use file::FileKek;
pub use kek::{Kek, KeyAct, KeyUse, Witness};
pub use keks::Keks;
use kmip::KmipKek;
pub use passphrase::{PassphraseKek, PassphraseUse};
pub use patience::{Backoff, Clock, Patience};
pub use pkcs11::{ModuleName, PinSource, Pkcs11Kek, Pkcs11Uri, Said, TokenProblem, WrapMechanism};
pub use provider::{Answer, Binding, Capabilities, KekDescription, KekProvider, ProviderKind, WrapPurpose};
pub use uri::{KekUri, PassphraseSource};
use vault::VaultKek;

/// What to do about a KEK that does not exist yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NewKek {
    /// Refuse: it must exist. A passphrase is asked for once.
    Never,
    /// Make a missing key file (`--new-kek`). A new passphrase is asked for twice.
    IfMissing,
}

/// An opened KEK.
pub struct OpenedKek {
    /// Wraps and unwraps with it.
    pub keeper: Box<dyn KekProvider>,
    /// Whether its key file was made just now.
    pub created: bool,
}

/// Opens the KEK that `uri` names; reads the key file or asks for the passphrase now.
///
/// # Errors
/// As [`FileKek::open`], [`FileKek::create`], [`PassphraseKek::open`], [`CredentialKek::open`] and [`Pkcs11Kek::open`].
pub fn open(uri: &KekUri, new: NewKek) -> Result<OpenedKek, KeyError> {
    match (uri, new) {
        (KekUri::File(path), NewKek::Never) => Ok(OpenedKek { keeper: Box::new(FileKek::open(path)?), created: false }),
        (KekUri::File(path), NewKek::IfMissing) => match FileKek::create(path) {
            Err(KeyError::Exists { .. }) => Ok(OpenedKek { keeper: Box::new(FileKek::open(path)?), created: false }),
            made => Ok(OpenedKek { keeper: Box::new(made?), created: true }),
        },
        (KekUri::Passphrase(source), new) => {
            let usage = match new {
                NewKek::Never => PassphraseUse::Open,
                NewKek::IfMissing => PassphraseUse::Create,
            };
            let keeper = Box::new(PassphraseKek::open(source, usage)?);
            Ok(OpenedKek { keeper, created: false })
        }
        (KekUri::SystemdCred(name), _) => {
            Ok(OpenedKek { keeper: Box::new(CredentialKek::open(name)?), created: false })
        }
        (KekUri::Pkcs11(uri), _) => Ok(OpenedKek { keeper: Box::new(Pkcs11Kek::open(uri)?), created: false }),
        (KekUri::Kmip(uri), _) => Ok(OpenedKek { keeper: Box::new(KmipKek::open(uri)?), created: false }),
        (KekUri::Vault(uri), _) => Ok(OpenedKek { keeper: Box::new(VaultKek::open(uri)?), created: false }),
    }
}
