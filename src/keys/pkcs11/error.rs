//! What goes wrong with a token, in the words of an operator and the classes of the daemon.
//!
//! Invariants: a refused PIN is told from all else, because trying again locks the token; "tampered" is said only when the
//! token has just shown that its key works.

use std::fmt;
use std::path::PathBuf;

use cryptoki::context::Function;
use cryptoki::error::{Error, RvError};

use crate::keys::error::{KeyError, KeyErrorClass};

/// What is the matter with a token, its key or its module.
#[derive(Debug, thiserror::Error)]
pub enum TokenProblem {
    /// No such file.
    #[error("there is no PKCS#11 module {name}")]
    NoModule {
        /// Path or name.
        name: String,
    },
    /// Others could change the module, which runs in this process.
    #[error("the PKCS#11 module {} can be changed by others than root and its user", path.display())]
    ModuleExposed {
        /// Where.
        path: PathBuf,
    },
    /// It cannot be loaded or started.
    #[error("the PKCS#11 module {} cannot be used", path.display())]
    ModuleUnfit {
        /// Where.
        path: PathBuf,
    },
    /// No slot holds such a token.
    #[error("the token is not there")]
    NoToken,
    /// Several slots do.
    #[error("{count} tokens fit")]
    ManyTokens {
        /// How many.
        count: usize,
    },
    /// The slot holds another token, or the name another key, than when the KEK was opened.
    #[error("the key that fits now is {now}, and was {before}")]
    OtherKey {
        /// The id now.
        now: String,
        /// The id when it was opened.
        before: String,
    },
    /// No such AES key.
    #[error("the token has no such AES key")]
    NoKey,
    /// Several.
    #[error("{count} AES keys on the token fit")]
    ManyKeys {
        /// How many.
        count: usize,
    },
    /// An attribute of the key forbids its use.
    #[error("the key may not be used: its {attribute} is false")]
    KeyForbids {
        /// Which.
        attribute: &'static str,
    },
    /// The key could leave the token.
    #[error("the key can be taken out of the token: its CKA_EXTRACTABLE is true")]
    KeyExtractable,
    /// The token lacks the mechanism.
    #[error("the token does not do {mechanism}")]
    NoMechanism {
        /// Which.
        mechanism: &'static str,
    },
    /// A PIN is needed and there is none.
    #[error("the token wants a PIN, and there is no terminal to ask for it on")]
    PinUnset,
    /// The token refused the PIN.
    #[error("the token refuses the PIN")]
    PinWrong,
    /// The token refused this PIN earlier.
    #[error("the token refused this PIN before, and it is not tried again: tokens lock after a few tries")]
    PinRefusedBefore,
    /// Too many wrong PINs.
    #[error("the PIN is locked after too many wrong ones")]
    PinLocked,
    /// The PIN has expired or was never set.
    #[error("the PIN has to be set first")]
    PinUnready,
    /// The token or the way to it is gone.
    #[error("the token does not answer")]
    Lost,
    /// A wrap does not open with a key that works.
    #[error(
        "the key of generation {generation} does not open, while the KEK itself works: it was changed, or moved here from \
         another volume, generation or suite, or the key on the token was replaced by another of the same name"
    )]
    Tampered {
        /// The generation whose key it is.
        generation: u32,
    },
    /// Something else.
    #[error("the token fails")]
    Failed,
}

impl TokenProblem {
    /// How the daemon behaves about it.
    pub fn class(&self) -> KeyErrorClass {
        use KeyErrorClass as Class;
        match self {
            Self::NoToken | Self::Lost | Self::Failed => Class::Unreachable,
            Self::NoKey | Self::KeyForbids { .. } => Class::Disabled,
            Self::PinWrong | Self::PinRefusedBefore | Self::PinLocked | Self::PinUnready => Class::Denied,
            Self::OtherKey { .. } => Class::WrongKey,
            Self::Tampered { .. } => Class::Tampered,
            Self::ManyTokens { .. } | Self::ManyKeys { .. } | Self::KeyExtractable | Self::NoMechanism { .. } => {
                Class::Usage
            }
            Self::NoModule { .. } | Self::ModuleExposed { .. } | Self::ModuleUnfit { .. } | Self::PinUnset => {
                Class::Local
            }
        }
    }

    /// What the operator can do about it.
    pub fn hint(&self) -> Option<String> {
        Some(
            match self {
                Self::NoModule { .. } => "install the vendor's module, or say where it is: ?module-path=/usr/lib/…",
                Self::ModuleExposed { .. } => "it runs inside the daemon: chown it to root and chmod go-w it",
                Self::ModuleUnfit { .. } => "is it a PKCS#11 module, and is its configuration readable?",
                Self::NoToken | Self::Lost | Self::Failed => {
                    "is the token plugged in and its service running? `pkcs11-tool --module MODULE -L` lists tokens"
                }
                Self::ManyTokens { .. } => "name one: pkcs11:serial=…, as `pkcs11-tool --module MODULE -L` lists them",
                Self::OtherKey { .. } => "put the token back that was there, and start again",
                Self::NoKey => "`pkcs11-tool --module MODULE --login -O` lists the keys; was it destroyed?",
                Self::ManyKeys { .. } => "name one by its id: pkcs11:…;id=%01",
                Self::KeyForbids { .. } => "set the attribute, or make another key for this use",
                Self::KeyExtractable => "make a key with CKA_EXTRACTABLE false and CKA_SENSITIVE true",
                Self::NoMechanism { mechanism: "AES-GCM" } => "for tokens without AES-GCM: ?mechanism=kw",
                Self::NoMechanism { .. } => "leave mechanism= out: AES-GCM is used",
                Self::PinUnset => "add ?pin-source=file:PATH, or fd:N",
                Self::PinWrong | Self::PinRefusedBefore => "correct the PIN and start again; each try counts",
                Self::PinLocked => "the token's security officer unlocks it",
                Self::PinUnready => "set the user PIN with the token's own tool",
                Self::Tampered { .. } => {
                    "restore the header from a backup, or open with another KEK of the volume; find out who changed it"
                }
            }
            .into(),
        )
    }

    /// As an error about the KEK `kek`, because of `source`.
    pub(super) fn about(self, kek: &str, source: Option<Error>) -> KeyError {
        KeyError::Token { kek: kek.to_owned(), problem: self, source: source.map(Said::of) }
    }
}

/// What the token said, short: the function and the code, by the names the standard gives them.
#[derive(Debug)]
pub struct Said(String);

impl Said {
    fn of(error: Error) -> Said {
        Said(match error {
            Error::Pkcs11(code, function) => format!("C_{function:?} returned {}", code_name(code)),
            Error::LibraryLoading(error) => error.to_string(),
            other => other.to_string(),
        })
    }
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Said {}

/// `PinIncorrect` as `CKR_PIN_INCORRECT`.
fn code_name(code: RvError) -> String {
    match code {
        RvError::VendorDefined(code) | RvError::UnknownErrorCode(code) => format!("code {code:#x}"),
        code => {
            let mut name = String::from("CKR");
            for letter in format!("{code:?}").chars() {
                if letter.is_uppercase() {
                    name.push('_');
                }
                name.push(letter.to_ascii_uppercase());
            }
            name
        }
    }
}

/// What an error of a call means, where a wrap is not the only thing it can be about.
pub(super) fn problem(error: &Error, mechanism: &'static str) -> TokenProblem {
    let Error::Pkcs11(code, function) = error else { return TokenProblem::Failed };
    match code {
        RvError::PinIncorrect | RvError::PinInvalid | RvError::PinLenRange => TokenProblem::PinWrong,
        RvError::PinLocked => TokenProblem::PinLocked,
        RvError::PinExpired | RvError::UserPinNotInitialized => TokenProblem::PinUnready,
        RvError::MechanismInvalid => TokenProblem::NoMechanism { mechanism },
        RvError::KeyFunctionNotPermitted => TokenProblem::KeyForbids { attribute: usage(*function) },
        _ if is_lost(error) => TokenProblem::Lost,
        _ => TokenProblem::Failed,
    }
}

fn usage(function: Function) -> &'static str {
    match function {
        Function::EncryptInit | Function::Encrypt => "CKA_ENCRYPT",
        Function::WrapKey => "CKA_WRAP",
        Function::UnwrapKey => "CKA_UNWRAP",
        _ => "CKA_DECRYPT",
    }
}

/// Whether the session is of no more use, and another may be.
pub(super) fn is_lost(error: &Error) -> bool {
    matches!(
        error,
        Error::Pkcs11(
            RvError::SessionHandleInvalid
                | RvError::SessionClosed
                | RvError::UserNotLoggedIn
                | RvError::TokenNotPresent
                | RvError::TokenNotRecognized
                | RvError::DeviceRemoved
                | RvError::DeviceError
                | RvError::SlotIdInvalid
                | RvError::KeyHandleInvalid
                | RvError::ObjectHandleInvalid
                | RvError::OperationActive,
            _
        )
    )
}

/// Whether this may be how the token says that a wrap does not open. SoftHSM says it with `CKR_GENERAL_ERROR`.
pub(super) fn may_be_the_wrap(error: &Error) -> bool {
    matches!(
        error,
        Error::Pkcs11(
            RvError::EncryptedDataInvalid
                | RvError::EncryptedDataLenRange
                | RvError::WrappedKeyInvalid
                | RvError::WrappedKeyLenRange
                | RvError::SignatureInvalid
                | RvError::DataInvalid
                | RvError::DataLenRange
                | RvError::ArgumentsBad
                | RvError::FunctionFailed
                | RvError::GeneralError,
            _
        )
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What SoftHSM does not do by itself: codes of real tokens, and what each is taken for.
    #[test]
    fn codes_of_a_token_mean_what_the_standard_says() {
        use KeyErrorClass as Class;
        let login = |code| problem(&Error::Pkcs11(code, Function::Login), "AES-GCM");
        let encrypt = |code| problem(&Error::Pkcs11(code, Function::EncryptInit), "AES-GCM");
        for (found, class, said) in [
            (login(RvError::PinIncorrect), Class::Denied, "the token refuses the PIN"),
            (login(RvError::PinLenRange), Class::Denied, "the token refuses the PIN"),
            (login(RvError::PinLocked), Class::Denied, "the PIN is locked after too many wrong ones"),
            (login(RvError::PinExpired), Class::Denied, "the PIN has to be set first"),
            (login(RvError::UserPinNotInitialized), Class::Denied, "the PIN has to be set first"),
            (encrypt(RvError::DeviceRemoved), Class::Unreachable, "the token does not answer"),
            (encrypt(RvError::DeviceError), Class::Unreachable, "the token does not answer"),
            (encrypt(RvError::TokenNotPresent), Class::Unreachable, "the token does not answer"),
            (encrypt(RvError::GeneralError), Class::Unreachable, "the token fails"),
            (encrypt(RvError::MechanismInvalid), Class::Usage, "the token does not do AES-GCM"),
            (
                encrypt(RvError::KeyFunctionNotPermitted),
                Class::Disabled,
                "the key may not be used: its CKA_ENCRYPT is false",
            ),
        ] {
            assert_eq!((found.class(), found.to_string().as_str()), (class, said));
            assert!(found.hint().is_some(), "{said}");
        }
    }

    /// A refused PIN must never be taken for a lost session, which is begun again, nor a lost session for a changed wrap.
    #[test]
    fn what_is_tried_again_is_neither_a_pin_nor_a_wrap() {
        let of = |code| Error::Pkcs11(code, Function::Decrypt);
        for code in [RvError::PinIncorrect, RvError::PinLocked, RvError::PinInvalid, RvError::PinLenRange] {
            assert!(!is_lost(&of(code)) && !may_be_the_wrap(&of(code)), "{code:?}");
        }
        for code in
            [RvError::SessionHandleInvalid, RvError::UserNotLoggedIn, RvError::DeviceRemoved, RvError::DeviceError]
        {
            assert!(is_lost(&of(code)) && !may_be_the_wrap(&of(code)), "{code:?}");
        }
        for code in [RvError::GeneralError, RvError::EncryptedDataInvalid, RvError::WrappedKeyInvalid] {
            assert!(!is_lost(&of(code)) && may_be_the_wrap(&of(code)), "{code:?}");
        }
    }

    #[test]
    fn codes_are_told_by_their_names() {
        let said = |code, function| Said::of(Error::Pkcs11(code, function)).to_string();
        assert_eq!(said(RvError::PinIncorrect, Function::Login), "C_Login returned CKR_PIN_INCORRECT");
        assert_eq!(said(RvError::VendorDefined(0x8000_0001), Function::Decrypt), "C_Decrypt returned code 0x80000001");
    }
}
