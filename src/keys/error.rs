//! Every way a key can fail to be had, as one closed enum, with a class for the daemon and a hint for the operator.
//!
//! Invariants: a message says what and where and holds no secret, nor any part of an argument that may contain one; it
//! does not repeat its source; [`KeyError::hint`] says what to do next.

use std::io;
use std::path::{Path, PathBuf};

use crate::crypto::CryptoError;
use crate::keys::pkcs11::{self, Said, TokenProblem};

/// How the daemon behaves about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyErrorClass {
    /// The keeper did not answer: retry with back-off, serve on with the keys that are loaded.
    Unreachable,
    /// The keeper is sealed and waits for its own operators: as unreachable, another message.
    Sealed,
    /// The keeper refuses this caller.
    Denied,
    /// The KEK exists and is disabled or destroyed at the keeper.
    Disabled,
    /// The keeper asks to come back later: retry with back-off.
    Throttled,
    /// The wrap was changed, or is used where it does not belong: never retried, alarm.
    Tampered,
    /// The KEK is not the one that wrapped this key.
    WrongKey,
    /// The KEK cannot be had on this machine: a file, a terminal, memory.
    Local,
    /// The operator asked for something that does not exist.
    Usage,
}

impl KeyErrorClass {
    /// Whether trying again later can help without anybody changing anything here.
    pub fn is_retryable(self) -> bool {
        matches!(self, Self::Unreachable | Self::Sealed | Self::Throttled)
    }
}

/// An error of the key layer.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// A KEK URI without a scheme, or with one nobody knows.
    #[error("not a KEK URI: {shown:?}")]
    NotUri {
        /// What may be shown of it: the scheme, or a path.
        shown: String,
    },
    /// A KEK URI of a known scheme whose rest makes no sense.
    #[error("KEK URI {scheme}: {reason}")]
    BadUri {
        /// The scheme.
        scheme: &'static str,
        /// What is wrong.
        reason: &'static str,
    },
    /// A scheme that the design knows and this build does not serve.
    #[error("KEK URI {scheme}: not in this build")]
    NotInBuild {
        /// The scheme.
        scheme: &'static str,
        /// What to use instead.
        instead: &'static str,
    },
    /// No file at the path.
    #[error("{what} {}: there is no such file", path.display())]
    Missing {
        /// `key file` or `passphrase file`.
        what: &'static str,
        /// Where.
        path: PathBuf,
    },
    /// The file could not be opened or read.
    #[error("{what} {}: cannot be read", path.display())]
    Unreadable {
        /// `key file` or `passphrase file`.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The path leads to a directory, a device or a pipe.
    #[error("{what} {}: not a regular file", path.display())]
    NotFile {
        /// `key file` or `passphrase file`.
        what: &'static str,
        /// Where.
        path: PathBuf,
    },
    /// Others than the owner have access to the file.
    #[error("{what} {}: its mode {mode:04o} lets others than its owner at it", path.display())]
    Exposed {
        /// `key file` or `passphrase file`.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file belongs to another user.
    #[error("{what} {}: belongs to uid {owner}, neither to root nor to uid {running}", path.display())]
    Owner {
        /// `key file` or `passphrase file`.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
        /// Who is running.
        running: u32,
    },
    /// The contents are no key, or no passphrase.
    #[error("{what} {}: {reason}", path.display())]
    Malformed {
        /// `key file` or `passphrase file`.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A key file was to be made where there is something already.
    #[error("key file {}: exists already and is never overwritten", path.display())]
    Exists {
        /// Where.
        path: PathBuf,
    },
    /// A key file could not be made; nothing was left behind.
    #[error("key file {}: cannot be made ({step})", path.display())]
    Create {
        /// Where.
        path: PathBuf,
        /// What failed.
        step: &'static str,
        /// Why.
        source: io::Error,
    },
    /// There is no terminal to ask for a passphrase on.
    #[error("no terminal to ask for the passphrase on")]
    Terminal(#[source] io::Error),
    /// The operator gave up at the prompt.
    #[error("no passphrase was given")]
    Cancelled,
    /// The two entries of a new passphrase differ.
    #[error("the two passphrases differ")]
    Mismatch,
    /// The passphrase is longer than this program takes.
    #[error("the passphrase is longer than {most} bytes")]
    TooLong {
        /// The limit, bytes.
        most: usize,
    },
    /// Another kind of keeper wrapped this key.
    #[error("{kek} cannot open a key wrapped by {by}")]
    OtherProvider {
        /// The KEK that was tried.
        kek: String,
        /// Who wrapped the key.
        by: String,
    },
    /// The KEK is a good one, and another one wrapped this key.
    #[error("{kek} is not the KEK that wraps this key: it is {have}, wanted is {want}")]
    WrongKek {
        /// The KEK that was tried.
        kek: String,
        /// Its id.
        have: String,
        /// The id of the one that is needed.
        want: String,
    },
    /// The passphrase is not the one that wraps this key.
    #[error("{kek} is not the passphrase that wraps this key")]
    WrongPassphrase {
        /// Where the passphrase came from.
        kek: String,
    },
    /// The right KEK, and the wrap does not open: it was changed, or belongs to another volume, generation or suite.
    #[error(
        "the key of generation {generation} does not open with {kek}, which is the right KEK: it was changed, or \
         moved here from another volume, generation or suite"
    )]
    Tampered {
        /// The KEK that was tried.
        kek: String,
        /// The generation whose key it is.
        generation: u32,
    },
    /// A wrap whose parts make no sense.
    #[error("the wrapped key of generation {generation} is malformed: {reason}")]
    BadWrap {
        /// The generation whose key it is.
        generation: u32,
        /// What is wrong.
        reason: &'static str,
    },
    /// A passphrase wrap that asks for more work, or less, than this program does.
    #[error("the wrapped key of generation {generation} asks for work out of bounds")]
    Work {
        /// The generation whose key it is.
        generation: u32,
        /// Which bound.
        source: CryptoError,
    },
    /// A keeper elsewhere answered with an error, or not at all.
    #[error("{kek}: {reason}")]
    Remote {
        /// The KEK.
        kek: String,
        /// How to behave about it.
        class: KeyErrorClass,
        /// What the keeper said, in our words.
        reason: String,
        /// What it was made of.
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// Something is the matter with a token, its key or its module.
    #[error("{kek}: {problem}")]
    Token {
        /// The KEK.
        kek: String,
        /// What.
        problem: TokenProblem,
        /// What the token said.
        source: Option<Said>,
    },
    /// There are no credentials to read one of.
    #[error("systemd-cred:{name}: CREDENTIALS_DIRECTORY is not set, so there are no credentials")]
    NoCredentials {
        /// The credential's name.
        name: String,
    },
    /// The keeper refuses the token that an earlier login brought; it is dropped, and the next try logs in again.
    #[error("{kek}: it no longer takes the token of our login")]
    LoginExpired {
        /// The KEK.
        kek: String,
    },
    /// The use of a key could not be recorded, so it did not happen.
    #[error("a key is not used, for it cannot be recorded")]
    Unrecorded {
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The cryptographic layer refused.
    #[error("a key cannot be used")]
    Crypto(#[from] CryptoError),
}

impl KeyError {
    /// How the daemon behaves about it.
    pub fn class(&self) -> KeyErrorClass {
        use KeyErrorClass as Class;
        match self {
            Self::NotUri { .. } | Self::BadUri { .. } | Self::NotInBuild { .. } => Class::Usage,
            Self::Tampered { .. } | Self::BadWrap { .. } | Self::Work { .. } => Class::Tampered,
            Self::OtherProvider { .. } | Self::WrongKek { .. } | Self::WrongPassphrase { .. } => Class::WrongKey,
            Self::Remote { class, .. } => *class,
            Self::Token { problem, .. } => problem.class(),
            Self::LoginExpired { .. } => Class::Denied,
            _ => Class::Local,
        }
    }

    /// What the operator can do about it, as one sentence or command.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NotUri { shown } if shown.starts_with(['/', '.']) => {
                format!("a key file is named file:{shown}")
            }
            Self::NotUri { .. } => {
                "a KEK is file:PATH, passphrase:, passphrase:file=PATH, systemd-cred:NAME, pkcs11:…, vault://… or kmip://…".into()
            }
            Self::BadUri { scheme: "passphrase", .. } => {
                "write passphrase: to be asked, or passphrase:file=PATH or passphrase:fd=N; a passphrase in an \
                 argument is seen by every user of the machine and kept in shell histories"
                    .into()
            }
            Self::BadUri { scheme: "pkcs11", .. } => pkcs11::HINT.into(),
            Self::BadUri { scheme: "systemd-cred", .. } => {
                "a credential is named systemd-cred:NAME, by the name it has in the unit".into()
            }
            Self::Token { problem, .. } => return problem.hint(),
            Self::NoCredentials { name } => format!(
                "run it as a systemd service whose unit says LoadCredentialEncrypted={name}:/etc/keymoult/{name}.cred"
            ),
            Self::BadUri { scheme: "vault" | "vault+http", .. } => {
                "write vault://HOST:PORT/MOUNT/KEY?ca=FILE&token-file=FILE; a token or password does not belong into it"
                    .into()
            }
            Self::BadUri { scheme: "kmip", .. } => {
                "write kmip://HOST:PORT/KEY-ID?ca=FILE&cert=FILE&key=FILE; a password does not belong into it".into()
            }
            Self::BadUri { .. } => "a key file is named file:PATH".into(),
            Self::NotInBuild { instead, .. } => (*instead).into(),
            Self::Missing { what: "key file", path } => {
                format!("check the path; for a new volume, --new-kek makes the key file {}", path.display())
            }
            Self::Missing { what: "descriptor", .. } => "pass it to this program: keymoult … 3</path/to/it".into(),
            Self::Missing { what: "credential", .. } => {
                "the unit has to load it: LoadCredentialEncrypted=NAME:PATH, with this NAME".into()
            }
            Self::Missing { .. } => "check the path".into(),
            Self::Exposed { path, .. } => format!("chmod 600 {}", quoted(path)),
            Self::Owner { path, running, .. } => {
                format!("if the file is yours, as root: chown {running} {}", quoted(path))
            }
            Self::NotFile { .. } => "name the file itself".into(),
            Self::Unreadable { .. } => "run as the owner of the file, or as root".into(),
            Self::Malformed { what: "key file", .. } => {
                "a key file is one line, keymoult-kek-v1: and 64 hexadecimal digits; restore it \
                 from its backup"
                    .into()
            }
            Self::Malformed { what: "credential", .. } => {
                "the credential has to hold a key file: systemd-creds encrypt --name=NAME KEYFILE NAME.cred".into()
            }
            Self::Malformed { what: "descriptor", .. } => {
                "pass one that gives one line of text and ends: keymoult … 3</path/to/it".into()
            }
            Self::Malformed { what: "PIN file", .. } => "a PIN file is one line of text".into(),
            Self::Malformed { .. } => "a passphrase file is one line of text".into(),
            Self::Exists { .. } => "use it as it is, or name another path for the new key".into(),
            Self::Create { .. } => "the directory must exist and be writable".into(),
            Self::Terminal(_) => "without a terminal, use passphrase:file=PATH, passphrase:fd=N or a key file".into(),
            Self::Mismatch | Self::Cancelled => "run the command again".into(),
            Self::TooLong { .. } => "use a shorter passphrase, or a key file".into(),
            Self::OtherProvider { .. } => "give a KEK of that kind with --kek".into(),
            Self::WrongKek { want, .. } => format!("give the KEK with id {want}"),
            Self::WrongPassphrase { .. } => {
                "check the keyboard layout and CapsLock, or give another KEK of the volume".into()
            }
            Self::Tampered { .. } | Self::BadWrap { .. } | Self::Work { .. } => {
                "restore the header from a backup, or open with another KEK of the volume; find \
                 out who changed it"
                    .into()
            }
            Self::Unrecorded { .. } => "the audit log must take records: see `keymoult status`".into(),
            Self::Remote { class, .. } => remote_hint(*class)?.into(),
            Self::LoginExpired { .. } => remote_hint(KeyErrorClass::Denied)?.into(),
            Self::Crypto(_) => return None,
        })
    }
}

/// What to do about a keeper elsewhere.
fn remote_hint(class: KeyErrorClass) -> Option<&'static str> {
    use KeyErrorClass as Class;
    Some(match class {
        Class::Unreachable => "is it running, and is its address right? what is open goes on without it",
        Class::Sealed => "its operators have to unseal it; what is open goes on without it",
        Class::Throttled => "try again later; what is open goes on without it",
        Class::Denied => "what this identity needs is in kernel-notes/key-faults.md; its administrator can grant it",
        Class::Disabled => "enable or restore the KEK at its keeper, or open with another KEK of the volume",
        Class::Tampered => {
            "restore the header from a backup, or open with another KEK of the volume; find out who changed it, or \
             whether the keeper now has another KEK under this name"
        }
        Class::Local => "check the certificates that the KEK URI names, and that its host is the one meant",
        Class::Usage => "name another KEK",
        Class::WrongKey => return None,
    })
}

/// The path as one shell word.
fn quoted(path: &Path) -> String {
    let path = path.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@%,=".contains(c);
    if !path.is_empty() && path.chars().all(plain) {
        path.into_owned()
    } else {
        format!("'{}'", path.replace('\'', r"'\''"))
    }
}
