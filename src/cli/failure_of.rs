//! What a volume's error means to an operator: exit code, kind for the API, and what to do about it.

use std::error::Error;

use super::exit::Exit;
use super::failure::Failure;
use crate::control::api::{ApiError, ErrorKind};
use crate::crypto::CryptoError;
use crate::engine::EngineError;
use crate::keys::escrow::EscrowError;
use crate::keys::{KeyError, KeyErrorClass};
use crate::nbd::NbdError;
use crate::nbd::tls::TlsError;
use crate::volume::VolumeError;

/// A volume's error as a failure of a command.
pub fn volume(error: &VolumeError) -> Failure {
    let failure = Failure::from_error(Exit::of(volume_kind(error)), error);
    match hint(error) {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

/// A volume's error as an answer of the API.
pub fn volume_api(error: &VolumeError) -> ApiError {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        text.push_str(": ");
        text.push_str(&source.to_string());
        cause = source.source();
    }
    let answer = ApiError::new(volume_kind(error), text);
    match hint(error) {
        Some(hint) => answer.hint(hint),
        None => answer,
    }
}

/// A key's error as a failure of a command.
pub fn key(error: &KeyError) -> Failure {
    let failure = Failure::from_error(Exit::of(key_kind(error)), error);
    match error.hint() {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

/// The NBD server's error as a failure of `serve`.
pub fn nbd(error: &NbdError) -> Failure {
    let in_use = match error {
        NbdError::SocketInUse(_) | NbdError::PortInUse(_) => true,
        NbdError::Listen { source, .. } => source.kind() == std::io::ErrorKind::AddrInUse,
        _ => false,
    };
    let failure = Failure::from_error(if in_use { Exit::InUse } else { Exit::Io }, error);
    if in_use { failure.hint("another server has this address: stop it or choose another --nbd") } else { failure }
}

/// An error of TLS files as a failure.
pub fn tls(error: &TlsError) -> Failure {
    let failure = Failure::from_error(Exit::BadInput, error);
    match error {
        TlsError::Exposed { path, .. } => failure.hint(format!("close it: chmod 600 {}", path.display())),
        TlsError::Mismatch { .. } => failure.hint("the certificate file begins with the server's own certificate"),
        TlsError::Unreadable { .. } | TlsError::NotAFile { .. } => {
            failure.hint("the daemon's user has to be able to read it")
        }
        TlsError::Malformed { .. } | TlsError::Refused(_) => failure,
    }
}

fn io_kind(source: &std::io::Error) -> ErrorKind {
    match source.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => ErrorKind::NoSpace,
        std::io::ErrorKind::NotFound | std::io::ErrorKind::AlreadyExists | std::io::ErrorKind::PermissionDenied => {
            ErrorKind::BadInput
        }
        _ => ErrorKind::Io,
    }
}

fn engine_kind(error: &EngineError) -> ErrorKind {
    match error {
        EngineError::InUse { .. } => ErrorKind::InUse,
        EngineError::NotStorage { .. } => ErrorKind::BadInput,
        EngineError::Open { source, .. } | EngineError::Create { source, .. } => io_kind(source),
        EngineError::NoDirect { .. } | EngineError::RingForbidden { .. } => ErrorKind::Unsupported,
        EngineError::RingMissing { .. } | EngineError::RingLacks { .. } => ErrorKind::Unsupported,
        _ => ErrorKind::Io,
    }
}

fn key_kind(error: &KeyError) -> ErrorKind {
    match error.class() {
        KeyErrorClass::WrongKey => ErrorKind::WrongKey,
        KeyErrorClass::Tampered => ErrorKind::Damaged,
        KeyErrorClass::Unreachable | KeyErrorClass::Sealed | KeyErrorClass::Throttled => ErrorKind::Unavailable,
        KeyErrorClass::Denied | KeyErrorClass::Disabled => ErrorKind::WrongKey,
        KeyErrorClass::Local | KeyErrorClass::Usage => ErrorKind::BadInput,
    }
}

/// An escrow bundle's error as a failure of a command.
pub fn escrow(error: &EscrowError) -> Failure {
    let failure = Failure::from_error(Exit::of(escrow_kind(error)), error);
    match error {
        EscrowError::Identity(error) => error.hint().map_or(failure.clone(), |hint| failure.hint(hint)),
        EscrowError::NotRecipient { .. } => failure.hint(
            "a recipient is age1…, as age-keygen prints it; passphrases are refused, since a bundle may lie about for years",
        ),
        EscrowError::TooFew { .. } => failure.hint("give the identity file of another recipient, too: --identity FILE"),
        EscrowError::NoIdentity(_) => failure.hint("age-keygen -o FILE makes one"),
        _ => failure,
    }
}

fn escrow_kind(error: &EscrowError) -> ErrorKind {
    match error {
        EscrowError::Identity(error) => key_kind(error),
        EscrowError::TooFew { .. } => ErrorKind::WrongKey,
        EscrowError::Bundle(_) | EscrowError::Tampered => ErrorKind::Damaged,
        EscrowError::Crypto(_) => ErrorKind::Internal,
        _ => ErrorKind::BadInput,
    }
}

fn volume_kind(error: &VolumeError) -> ErrorKind {
    match error {
        VolumeError::Backing(error) => engine_kind(error),
        VolumeError::Io { source, .. } => match io_kind(source) {
            ErrorKind::NoSpace => ErrorKind::NoSpace,
            _ => ErrorKind::Io,
        },
        VolumeError::NotReadBack { .. } => ErrorKind::Io,
        VolumeError::Escrow(error) => escrow_kind(error),
        VolumeError::Shape(_) | VolumeError::NotAVolume { .. } | VolumeError::HeaderKind(_) => ErrorKind::BadInput,
        VolumeError::Newer { .. } => ErrorKind::Unsupported,
        VolumeError::WrongKey { .. } => ErrorKind::WrongKey,
        VolumeError::Key(error) => key_kind(error),
        VolumeError::Crypto(CryptoError::EngineMissing(_)) => ErrorKind::Unsupported,
        VolumeError::Crypto(_) | VolumeError::Log(_) => ErrorKind::Internal,
        VolumeError::Damaged { .. }
        | VolumeError::Truncated { .. }
        | VolumeError::Canary { .. }
        | VolumeError::StaleHeader { .. }
        | VolumeError::TagDigest { .. }
        | VolumeError::UnknownTag { .. }
        | VolumeError::TagState { .. }
        | VolumeError::ReadBack { .. }
        | VolumeError::Ring(_) => ErrorKind::Damaged,
        VolumeError::Unproven { source, .. } => volume_kind(source),
        VolumeError::Poisoned(_)
        | VolumeError::Refused(_)
        | VolumeError::TableFull
        | VolumeError::StaleBackup { .. }
        | VolumeError::HoldersFull => ErrorKind::State,
    }
}

fn hint(error: &VolumeError) -> Option<String> {
    let fixed = match error {
        VolumeError::Key(error) => return error.hint(),
        VolumeError::Backing(EngineError::InUse { .. }) => {
            "stop the daemon that serves it; one backing has one owner at a time"
        }
        VolumeError::Backing(EngineError::RingForbidden { .. } | EngineError::RingMissing { .. }) => {
            "allow io_uring, or use --io posix"
        }
        VolumeError::Crypto(CryptoError::EngineMissing(_)) => "leave --crypto-engine out: the best one is chosen",
        VolumeError::WrongKey { .. } => "give the KEK it was created with: --kek file:/path or --kek passphrase:",
        VolumeError::Truncated { .. } => {
            "make the backing as long as it was (truncate -s does, without touching what is there) and try again"
        }
        VolumeError::Newer { .. } => "use the keymoult release that wrote it, or a later one",
        VolumeError::StaleHeader { .. } => "use the header and the data that belong together; nothing was changed",
        VolumeError::Damaged { .. } | VolumeError::TagDigest { .. } | VolumeError::Ring(_) => {
            "nothing was changed; `keymoult volume check PATH --kek URI` says what is left, a header backup may help"
        }
        VolumeError::Poisoned(_) => {
            "reads are served; stop the daemon, mend the device, and run `keymoult volume check PATH --kek URI --full --repair`"
        }
        VolumeError::NotReadBack { .. } => {
            "the device has lost it: mend or replace the device, then `rotate resume`, `rotate verify` and `rotate finalize`"
        }
        VolumeError::StaleBackup { .. } => {
            "nothing was changed; restored, it would decrypt to garbage: find a backup made after the last rotation"
        }
        VolumeError::HoldersFull => "`keymoult key holder list VOLUME` shows them, `key holder release` takes one off",
        VolumeError::NotAVolume { .. } => "is it the right path? `keymoult volume create` makes volumes",
        VolumeError::Io { source, .. } if io_kind(source) == ErrorKind::NoSpace => "free some space and try again",
        _ => return None,
    };
    Some(fixed.to_string())
}
