//! How talking to a keeper fails, and what that means for the key.

use std::error::Error;
use std::io;

use rustls::AlertDescription as Alert;

use crate::keys::error::{KeyError, KeyErrorClass};

/// A failure between us and a keeper, before it had a say.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// No address for its name.
    #[error("its name cannot be resolved")]
    Resolve(#[source] io::Error),
    /// Nobody takes the connection.
    #[error("cannot be reached")]
    Connect(#[source] io::Error),
    /// The deadline has passed.
    #[error("has not answered in time")]
    Late,
    /// The connection ended too early, or broke.
    #[error("the connection broke before its answer was complete")]
    Cut(#[source] io::Error),
    /// Its certificate does not prove who it is.
    #[error("its certificate is not to be trusted")]
    Untrusted(#[source] rustls::Error),
    /// It does not accept our certificate, or wants one.
    #[error("does not accept the client certificate")]
    Refused(#[source] rustls::Error),
    /// TLS with it fails in another way.
    #[error("TLS with it fails")]
    Tls(#[source] rustls::Error),
    /// It says what no such keeper says.
    #[error("its answer makes no sense: {0}")]
    Nonsense(&'static str),
}

impl NetError {
    /// How the daemon behaves about it.
    pub fn class(&self) -> KeyErrorClass {
        match self {
            NetError::Refused(_) => KeyErrorClass::Denied,
            NetError::Untrusted(_) => KeyErrorClass::Local,
            _ => KeyErrorClass::Unreachable,
        }
    }

    /// What an error of the stream is about.
    pub fn of(error: io::Error) -> NetError {
        use io::ErrorKind as Kind;
        if matches!(error.kind(), Kind::WouldBlock | Kind::TimedOut) {
            return NetError::Late;
        }
        match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            Some(tls) => NetError::of_tls(tls.clone()),
            None => NetError::Cut(error),
        }
    }

    /// What an error of TLS is about.
    pub fn of_tls(error: rustls::Error) -> NetError {
        match &error {
            rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented => NetError::Untrusted(error),
            rustls::Error::AlertReceived(
                Alert::BadCertificate
                | Alert::UnsupportedCertificate
                | Alert::CertificateRevoked
                | Alert::CertificateExpired
                | Alert::CertificateUnknown
                | Alert::UnknownCA
                | Alert::AccessDenied
                | Alert::CertificateRequired,
            ) => NetError::Refused(error),
            _ => NetError::Tls(error),
        }
    }

    /// The same as an error of the KEK `kek`.
    pub fn for_kek(self, kek: &str) -> KeyError {
        let (class, reason) = (self.class(), self.to_string());
        let source: Option<Box<dyn Error + Send + Sync>> = match self {
            NetError::Resolve(error) | NetError::Connect(error) | NetError::Cut(error) => Some(Box::new(error)),
            NetError::Untrusted(error) | NetError::Refused(error) | NetError::Tls(error) => Some(Box::new(error)),
            NetError::Late | NetError::Nonsense(_) => None,
        };
        KeyError::Remote { kek: kek.to_owned(), class, reason, source }
    }
}
